use polywire::service;

#[service]
trait Calculator {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
    #[method(name = "add")]
    async fn sum(&self, numbers: Vec<i64>) -> Result<i64, Fault>;
}

#[service]
trait Adder {
    #[method(name = "math..add")]
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
    #[method(name = "add all")]
    async fn add_all(&self, numbers: Vec<i64>) -> Result<i64, Fault>;
}

#[service]
trait Conditional {
    #[cfg(any())]
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
    #[method(name = "add")]
    async fn sum(&self, numbers: Vec<i64>) -> Result<i64, Fault>;
    #[cfg(any())]
    #[method(name = "add")]
    async fn add_numbers(&self, numbers: Vec<i64>) -> Result<i64, Fault>;
}

fn main() {}
