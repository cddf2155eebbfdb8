use polywire::{Fault, Json, Router, State};

async fn count(State(count): State<u64>, (): ()) -> Result<u64, Fault> {
    Ok(count)
}

async fn add(a: String, b: i64) -> Result<i64, Fault> {
    Ok(a.len() as i64 + b)
}

fn main() {
    let _ = Router::new(Json).method("count", count);
    let _ = Router::new(Json).method("add", add);
}
