use polywire::service;

#[service]
trait Calculator {
    async fn zero() -> Result<i64, Fault>;
    async fn add(&mut self, a: i64) -> Result<(), Fault>;
    async fn sum(self) -> Result<i64, Fault>;
    async fn product(self: Box<Self>) -> Result<i64, Fault>;
}

fn main() {}
