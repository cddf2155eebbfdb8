use polywire::service;

#[service]
trait Calculator {
    async fn add(&self, (a, b): (i64, i64)) -> Result<i64, Fault>;
    async fn negate(&self, mut a: i64) -> Result<i64, Fault>;
    async fn zero(&self, _: i64) -> Result<i64, Fault>;
    async fn parse(&self, text: &str, base: Option<&'static u32>) -> Result<i64, Fault>;
    async fn lower(&self, text: std::borrow::Cow<'_, str>) -> Result<(), Fault>;
    async fn merge(&self, other: Self) -> Result<(), Fault>;
    async fn count(&self, #[cfg(all())] a: i64) -> Result<i64, Fault>;
    async fn list(&self, #[arg(optional)] a: i64) -> Result<i64, Fault>;
    async fn page(&self, #[arg(default)] #[arg(default = 2)] a: i64) -> Result<i64, Fault>;
}

fn main() {}
