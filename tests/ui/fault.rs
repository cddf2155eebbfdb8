use polywire::{Fault, service};

#[service]
trait Calculator {
    async fn divide(&self, a: i64, b: i64) -> Result<i64, String>;
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
}

fn main() {}
