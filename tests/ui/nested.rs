//! Invalid nested services.

use polywire::{Fault, service};

#[service]
trait Loans {
    async fn grant(&self, amount: u64) -> Result<u64, Fault>;
}

#[service]
trait Bank {
    fn of(&self, branch: u32) -> impl Loans;

    fn both(&self) -> impl Loans + Clone;

    fn generic(&self) -> impl Into<u64>;

    #[method(timeout = "5s")]
    fn slow(&self) -> impl Loans;

    fn written(&self) -> impl Loans {
        Nobody
    }

    fn owned(self) -> impl Loans;
}

#[service]
trait Office {
    async fn loans(&self) -> Result<(), Fault>;

    #[method(name = "loans")]
    fn lent(&self) -> impl Loans;
}

fn main() {}
