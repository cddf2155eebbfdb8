use polywire::service;

#[service(idempotent)]
trait Calculator {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
}

#[service(push, push)]
trait Twice {
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
    #[method(timeout = "5 seconds")]
    async fn divide(&self, a: i64, b: i64) -> Result<i64, Fault>;
    #[method(timeout = "0s")]
    async fn root(&self, a: i64) -> Result<i64, Fault>;
    #[method(topic = "sums")]
    async fn sum(&self, numbers: Vec<i64>) -> Result<i64, Fault>;
    #[method(oneway)]
    async fn note(&self, number: i64) -> Result<i64, Fault>;
    #[method(ttl = "1h")]
    async fn late(&self, number: i64) -> Result<i64, Fault>;
    #[method(oneway, keep_expired)]
    async fn kept(&self, number: i64);
    #[method(oneway, ttl = "721h")]
    async fn old(&self, number: i64);
}

#[service(push)]
trait Thumbnails {
    #[method(oneway)]
    async fn shrink(&self, file: String);
}

#[service(push, uncancelled)]
trait Prints {
    async fn print(&self, file: String);
}

#[service(push)]
trait Scans {
    #[method(uncancelled)]
    async fn scan(&self, file: String);
}

#[service(uncancelled)]
trait Accounts {
    #[method(uncancelled, uncancelled)]
    async fn transfer(&self, amount: u64) -> Result<(), Fault>;
    #[method(uncancelled)]
    fn loans(&self) -> impl Loans;
}

#[service(publish)]
trait Weather {
    #[method(topic = "rain")]
    async fn drizzle(&self, millimeters: f64);
    #[method(topic = "rain")]
    async fn shower(&self, millimeters: f64);
}

#[service(publish)]
trait Sky {
    #[method(topic = "*")]
    async fn any(&self);
}

#[service]
trait Till {
    #[method(idempotent, at_most_once)]
    async fn charge(&self, cents: u64);
}

#[service(push, at_most_once)]
trait Stamps {
    async fn print(&self, number: u64);
}

#[service]
trait Times {
    #[method(timeout = "+5s")]
    async fn signed(&self) -> Result<(), Fault>;
    #[method(timeout = "721h")]
    async fn long(&self) -> Result<(), Fault>;
    #[method(timeout = "18446744073709551616ms")]
    async fn endless(&self) -> Result<(), Fault>;
    #[method(timeout = "ms")]
    async fn unnumbered(&self) -> Result<(), Fault>;
}

fn main() {}
