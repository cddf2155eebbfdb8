//! The stock of articles.

use std::collections::HashMap;

use polywire::app::{BoxError, Component};
use polywire::{Fault, MessagePack};
use serde::{Deserialize, Serialize};

use crate::book::{Book, Entered};
use crate::contracts::{Inventory, InventoryServer, Order, ShopError, Tally};

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport and of the book.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let stock = Stock(Book::open("inventory")?);
    Ok(app.serve("inventory", InventoryServer::new(stock, MessagePack)).await?)
}

/// The articles, with the price of a piece in cents.
const ARTICLES: [(&str, u64); 2] = [("hat", 1_999), ("scarf", 1_250)];

/// The pieces of each article.
const PIECES: u32 = 100_000;

/// The reservations.
struct Stock(Book<Reservation>);

/// A reservation, under the number of its order.
#[derive(Clone, Serialize, Deserialize)]
struct Reservation {
    order: Order,
    cents: u64,
}

impl Inventory for Stock {
    async fn reserve(&self, order: Order) -> Result<u64, ShopError> {
        let price = ARTICLES.iter().find(|(article, _)| *article == order.article);
        let (_, price) = price.ok_or_else(|| ShopError::NoSuchArticle(order.article.clone()))?;
        let cents = price * u64::from(order.pieces);
        let entered = self.0.enter(order.number, |reserved| {
            let left = left_of(&order.article, reserved);
            if left < order.pieces {
                return Err(ShopError::OutOfStock { left });
            }
            Ok(Reservation { order: order.clone(), cents })
        })?;
        match entered {
            Entered::Before(earlier) if earlier.order != order => {
                Err(ShopError::NumberTaken(order.number))
            }
            Entered::Before(_) | Entered::Now => Ok(cents),
        }
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        self.0.tally(|reservation| reservation.cents)
    }
}

fn left_of(article: &str, reserved: &HashMap<u64, Reservation>) -> u32 {
    let orders = reserved.values().map(|reservation| &reservation.order);
    let pieces = orders.filter(|order| order.article == article).map(|order| order.pieces);
    pieces.fold(PIECES, u32::saturating_sub)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::tests::order;

    #[tokio::test]
    async fn another_order_under_the_same_number_is_refused() {
        let stock = Stock(Book::in_memory());
        assert_eq!(stock.reserve(order(1, "hat")).await.unwrap(), 1_999);
        assert_eq!(stock.reserve(order(1, "hat")).await.unwrap(), 1_999);
        let refused = stock.reserve(order(1, "scarf")).await;
        assert!(matches!(refused, Err(ShopError::NumberTaken(1))));
        let tally = stock.tally().await.unwrap();
        assert_eq!(tally, Tally { orders: 1, cents: 1_999, repeated: 2 });
    }

    #[tokio::test]
    async fn no_more_pieces_are_reserved_than_there_are() {
        let stock = Stock(Book::in_memory());
        stock.reserve(Order { pieces: PIECES - 1, ..order(1, "hat") }).await.unwrap();
        let refused = stock.reserve(Order { pieces: 2, ..order(2, "hat") }).await;
        assert!(matches!(refused, Err(ShopError::OutOfStock { left: 1 })));
    }
}
