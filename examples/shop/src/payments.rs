//! The payments: each order is charged once, however often its client repeats it.

use std::collections::HashMap;
use std::sync::Mutex;

use polywire::app::{BoxError, Component};
use polywire::{Code, Fault, MessagePack};

use crate::contracts::{Order, Payments, PaymentsServer, Tally};
use crate::lock;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("payments", PaymentsServer::new(Ledger::default(), MessagePack)).await?)
}

/// The charges, which a real ledger keeps in a database.
#[derive(Default)]
struct Ledger(Mutex<(HashMap<u64, Charge>, u64)>);

/// A charge, under the number of its order.
#[derive(PartialEq)]
struct Charge {
    order: Order,
    cents: u64,
}

impl Payments for Ledger {
    async fn charge(&self, order: Order, cents: u64) -> Result<(), Fault> {
        let (charged, repeated) = &mut *lock(&self.0);
        let (number, charge) = (order.number, Charge { order, cents });
        match charged.get(&number) {
            None => {
                charged.insert(number, charge);
                Ok(())
            }
            Some(before) if *before == charge => {
                *repeated += 1;
                Ok(())
            }
            Some(_) => Err(Fault::new(Code::Application, "the number is that of another order")),
        }
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        let (charged, repeated) = &*lock(&self.0);
        let (orders, cents) =
            (charged.len() as u64, charged.values().map(|charge| charge.cents).sum());
        Ok(Tally { orders, cents, repeated: *repeated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_order_under_the_same_number_is_refused() {
        let order = |article: &str| {
            let (customer, article) = ("a".to_owned(), article.to_owned());
            Order { number: 1, customer, article, pieces: 1 }
        };
        let ledger = Ledger::default();
        ledger.charge(order("hat"), 5).await.unwrap();
        ledger.charge(order("hat"), 5).await.unwrap();
        assert!(ledger.charge(order("hat"), 6).await.is_err());
        assert!(ledger.charge(order("scarf"), 5).await.is_err());
        assert_eq!(ledger.tally().await.unwrap(), Tally { orders: 1, cents: 5, repeated: 1 });
    }
}
