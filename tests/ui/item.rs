use polywire::service;

#[service]
trait Calculator {
    const BASE: u32;
    type Number;
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
}

#[service]
unsafe trait Danger {}

fn main() {}
