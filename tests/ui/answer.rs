use polywire::service;

#[service]
trait Calculator {
    async fn clear(&self);
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn divide(&self, a: i64, b: i64) -> Result<i64>;
    async fn name(&self) -> Result<&'static str, Fault>;
}

fn main() {}
