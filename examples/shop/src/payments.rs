//! The payments: each order is charged once, however often its client repeats it.

use polywire::app::{BoxError, Component};
use polywire::{Fault, MessagePack};
use serde::{Deserialize, Serialize};

use crate::book::{Book, Entered};
use crate::contracts::{Order, Payments, PaymentsServer, ShopError, Tally};

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport and of the book.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let ledger = Ledger(Book::open("payments")?);
    Ok(app.serve("payments", PaymentsServer::new(ledger, MessagePack)).await?)
}

/// The charges.
struct Ledger(Book<Charge>);

/// A charge, under the number of its order.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Charge {
    order: Order,
    cents: u64,
}

impl Payments for Ledger {
    async fn charge(&self, order: Order, cents: u64) -> Result<(), ShopError> {
        let (number, charge) = (order.number, Charge { order, cents });
        match self.0.enter::<ShopError>(number, |_| Ok(charge.clone()))? {
            Entered::Before(earlier) if earlier != charge => Err(ShopError::NumberTaken(number)),
            Entered::Before(_) | Entered::Now => Ok(()),
        }
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        self.0.tally(|charge| charge.cents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contracts::tests::order;

    #[tokio::test]
    async fn another_order_under_the_same_number_is_refused() {
        let ledger = Ledger(Book::in_memory());
        ledger.charge(order(1, "hat"), 5).await.unwrap();
        ledger.charge(order(1, "hat"), 5).await.unwrap();
        assert!(ledger.charge(order(1, "hat"), 6).await.is_err());
        assert!(ledger.charge(order(1, "scarf"), 5).await.is_err());
        let tally = ledger.tally().await.unwrap();
        assert_eq!(tally, Tally { orders: 1, cents: 5, repeated: 3 });
    }
}
