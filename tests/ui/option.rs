use polywire::service;

#[service(idempotent)]
trait Calculator {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
}

#[service]
trait Adder {
    #[method(nam = "sum")]
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
    #[method(name = "difference", name = "subtract")]
    async fn subtract(&self, a: i64, b: i64) -> Result<i64, Fault>;
    #[method]
    async fn multiply(&self, a: i64, b: i64) -> Result<i64, Fault>;
}

fn main() {}
