use polywire::service;

#[service]
trait Calculator {
    fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
    async unsafe fn subtract(&self, a: i64, b: i64) -> Result<i64, Fault>;
    async fn multiply(&self, a: i64, b: i64) -> Result<i64, Fault> {
        Ok(a * b)
    }
    async fn connect(&self) -> Result<(), Fault>;
}

fn main() {}
