//! The payments: each order is charged once, whatever its client repeats.

use std::collections::HashMap;
use std::sync::Mutex;

use polywire::app::{BoxError, Component};
use polywire::{Code, Fault, MessagePack};

use crate::contracts::{Payments, PaymentsServer, Tally};
use crate::lock;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("payments", PaymentsServer::new(Ledger::default(), MessagePack)).await?)
}

/// The charges by the numbers of their orders, which a real ledger keeps in a database.
#[derive(Default)]
struct Ledger(Mutex<(HashMap<u64, u64>, u64)>);

impl Payments for Ledger {
    async fn charge(&self, order: u64, cents: u64) -> Result<(), Fault> {
        let (charged, repeated) = &mut *lock(&self.0);
        match charged.get(&order) {
            None => {
                charged.insert(order, cents);
                Ok(())
            }
            Some(before) if *before == cents => {
                *repeated += 1;
                Ok(())
            }
            Some(_) => Err(Fault::new(Code::Application, "the order has another amount")),
        }
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        let (charged, repeated) = &*lock(&self.0);
        let (orders, cents) = (charged.len() as u64, charged.values().sum());
        Ok(Tally { orders, cents, repeated: *repeated })
    }
}
