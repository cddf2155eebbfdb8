use polywire::service;

#[service]
trait Calculator<N> {
    async fn add(&self, a: N, b: N) -> Result<N, Fault>;
}

#[service]
trait Adder
where
    Self: Sized,
{
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
}

#[service]
trait Printer {
    async fn print<T>(&self, what: T) -> Result<(), Fault>;
    async fn show<'a>(&self, what: &'a str) -> Result<(), Fault>;
    async fn tell(&self, what: impl ToString) -> Result<(), Fault>;
}

fn main() {}
