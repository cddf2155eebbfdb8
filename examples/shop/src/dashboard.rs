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
    /// Notes an order, and returns whether it is the first time.
    pub(crate) fn note(&self, order: u64, cents: u64) -> bool {
        let (seen, repeated) = &mut *lock(&self.0);
        let is_first = seen.insert(order, cents).is_none();
        if !is_first {
            *repeated += 1;
        }
        is_first
    }

    /// Forgets an order, whose next note is the first one again.
    pub(crate) fn forget(&self, order: u64) {
        lock(&self.0).0.remove(&order);
    }
}

impl Report for Arc<Seen> {
    async fn tally(&self) -> Result<Tally, Fault> {
        let (seen, repeated) = &*lock(&self.0);
        let (orders, cents) = (seen.len() as u64, seen.values().sum());
        Ok(Tally { orders, cents, repeated: *repeated })
    }
}
