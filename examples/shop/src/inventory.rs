//! The stock of articles.

use std::collections::HashMap;
use std::sync::Mutex;

use polywire::app::{BoxError, Component};
use polywire::{Fault, MessagePack};

use crate::contracts::{Inventory, InventoryServer, Order, ShopError, Tally};
use crate::lock;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("inventory", InventoryServer::new(Stock::new(), MessagePack)).await?)
}

struct Stock(Mutex<Shelves>);

struct Shelves {
    /// Pieces and price of each article.
    articles: HashMap<&'static str, (u32, u64)>,
    /// The amount of each order.
    reserved: HashMap<u64, u64>,
    repeated: u64,
}

impl Stock {
    fn new() -> Self {
        let articles = HashMap::from([("hat", (10_000, 1_999)), ("scarf", (10_000, 1_250))]);
        Self(Mutex::new(Shelves { articles, reserved: HashMap::new(), repeated: 0 }))
    }
}

impl Inventory for Stock {
    async fn reserve(&self, order: Order) -> Result<u64, ShopError> {
        let Shelves { articles, reserved, repeated } = &mut *lock(&self.0);
        if let Some(cents) = reserved.get(&order.number) {
            *repeated += 1;
            return Ok(*cents);
        }
        let article = articles.get_mut(&*order.article);
        let (left, price) = article.ok_or(ShopError::NoSuchArticle(order.article))?;
        *left = left.checked_sub(order.pieces).ok_or(ShopError::OutOfStock { left: *left })?;
        let cents = *price * u64::from(order.pieces);
        reserved.insert(order.number, cents);
        Ok(cents)
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        let shelves = lock(&self.0);
        let (orders, cents) = (shelves.reserved.len() as u64, shelves.reserved.values().sum());
        Ok(Tally { orders, cents, repeated: shelves.repeated })
    }
}
