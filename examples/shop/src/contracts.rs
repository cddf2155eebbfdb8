//! The services, events and jobs of the shop.

use polywire::{Fault, service};
use serde::{Deserialize, Serialize};

/// An order of a customer. Its number is the key of everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The number, which the customer chooses.
    pub number: u64,
    /// The customer.
    pub customer: String,
    /// The article.
    pub article: String,
    /// The number of pieces.
    pub pieces: u32,
}

/// An order that was placed; the event of `order_events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// The order.
    pub order: Order,
    /// The amount that was charged.
    pub cents: u64,
}

/// A mail; the job of `mails`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mail {
    /// The number of the order.
    pub order: u64,
    /// The customer.
    pub to: String,
    /// The text.
    pub text: String,
}

/// Count and sum of what a program has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The number of orders.
    pub orders: u64,
    /// The sum of their amounts.
    pub cents: u64,
    /// The number of repetitions that had no further effect.
    pub repeated: u64,
}

/// The failures that customers see.
#[derive(Debug, Fault, thiserror::Error)]
pub enum ShopError {
    /// The article is not for sale.
    #[error("there is no article {0}")]
    NoSuchArticle(String),
    /// Fewer pieces are left.
    #[error("only {left} pieces are left")]
    OutOfStock {
        /// The number of pieces.
        left: u32,
    },
    /// The number is that of another order.
    #[error("{0} is the number of another order")]
    NumberTaken(u64),
    /// Another program failed.
    #[error("{0}")]
    Unavailable(String),
}

impl From<std::io::Error> for ShopError {
    fn from(error: std::io::Error) -> Self {
        Self::Unavailable(format!("cannot use the book: {error}"))
    }
}

/// The stock.
#[service]
pub trait Inventory {
    /// Reserves pieces for an order, once, and returns the price of all pieces in cents. Another
    /// order under the same number is refused.
    #[method(idempotent)]
    async fn reserve(&self, order: Order) -> Result<u64, ShopError>;

    /// Returns what was reserved.
    #[method(idempotent)]
    async fn tally(&self) -> Result<Tally, Fault>;
}

/// The payments.
#[service]
pub trait Payments {
    /// Charges an order, once. Another order under the same number is refused.
    #[method(idempotent)]
    async fn charge(&self, order: Order, cents: u64) -> Result<(), ShopError>;

    /// Returns what was charged.
    #[method(idempotent)]
    async fn tally(&self) -> Result<Tally, Fault>;
}

/// The orders.
#[service]
pub trait Orders {
    /// Places an order, once, and returns its amount in cents.
    #[method(idempotent)]
    async fn place(&self, order: Order) -> Result<u64, ShopError>;

    /// Returns what was placed.
    #[method(idempotent)]
    async fn tally(&self) -> Result<Tally, Fault>;
}

/// A program that reports what it has done, and serves nothing else.
#[service]
pub trait Report {
    /// Returns what was done.
    #[method(idempotent)]
    async fn tally(&self) -> Result<Tally, Fault>;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Order;

    /// Returns an order of one piece.
    pub(crate) fn order(number: u64, article: &str) -> Order {
        Order { number, customer: "a".to_owned(), article: article.to_owned(), pieces: 1 }
    }
}
