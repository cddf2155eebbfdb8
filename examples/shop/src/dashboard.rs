//! The dashboard: counts what it sees.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use polywire::app::{BoxError, Component};
use polywire::{Fault, MessagePack};

use crate::contracts::{Placed, Report, ReportServer, Tally};
use crate::lock;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let seen = Arc::new(Seen::default());
    app.serve("dashboard", ReportServer::new(seen.clone(), MessagePack)).await?;
    let handler = move |placed: Placed| {
        seen.note(placed.order.number, placed.cents);
        async { Ok(()) }
    };
    Ok(app.listen("order_events", MessagePack, handler).await?)
}

/// Orders by their numbers, each counted once.
#[derive(Default)]
pub(crate) struct Seen(Mutex<(HashMap<u64, u64>, u64)>);

impl Seen {
    /// Notes an order.
    pub(crate) fn note(&self, order: u64, cents: u64) {
        let (seen, repeated) = &mut *lock(&self.0);
        if seen.insert(order, cents).is_some() {
            *repeated += 1;
        }
    }

    /// Returns whether an order was noted.
    pub(crate) fn contains(&self, order: u64) -> bool {
        lock(&self.0).0.contains_key(&order)
    }
}

impl Report for Arc<Seen> {
    async fn tally(&self) -> Result<Tally, Fault> {
        let (seen, repeated) = &*lock(&self.0);
        let (orders, cents) = (seen.len() as u64, seen.values().sum());
        Ok(Tally { orders, cents, repeated: *repeated })
    }
}
