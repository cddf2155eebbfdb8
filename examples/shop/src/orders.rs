//! The orders: reserved, charged, and published as events.

use std::collections::HashMap;
use std::sync::Mutex;

use polywire::app::{BoxError, Component};
use polywire::{CallError, Fault, MessagePack, Publisher};

use crate::contracts::{
    InventoryClient, Order, Orders, OrdersServer, PaymentsClient, Placed, ShopError, Tally,
};
use crate::lock;

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let transport = app.transport();
    let counter = Counter {
        inventory: InventoryClient::connect(transport, "inventory", MessagePack).await?,
        payments: PaymentsClient::connect(transport, "payments", MessagePack).await?,
        events: Publisher::connect(transport, "order_events", MessagePack).await?,
        placed: Mutex::default(),
    };
    Ok(app.serve("orders", OrdersServer::new(counter, MessagePack)).await?)
}

struct Counter {
    inventory: InventoryClient<MessagePack>,
    payments: PaymentsClient<MessagePack>,
    events: Publisher<MessagePack>,
    /// The orders, and the number of repetitions.
    placed: Mutex<(HashMap<u64, u64>, u64)>,
}

impl Orders for Counter {
    async fn place(&self, order: Order) -> Result<u64, ShopError> {
        let number = order.number;
        // Each step may be repeated: after a crash, the client places the order again.
        let cents = match self.inventory.reserve(order.clone()).await {
            Ok(cents) => cents,
            Err(CallError::Declared(declared)) => return Err(declared),
            Err(error) => return Err(ShopError::Unavailable(error.to_string())),
        };
        self.payments.charge(order.clone(), cents).await.map_err(|error| unavailable(&error))?;
        let event = Placed { order, cents };
        let published = self.events.publish(format!("{number}.placed"), &event).await;
        published.map_err(|error| ShopError::Unavailable(error.to_string()))?;
        let (placed, repeated) = &mut *lock(&self.placed);
        if placed.insert(number, cents).is_some() {
            *repeated += 1;
        }
        Ok(cents)
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        let (placed, repeated) = &*lock(&self.placed);
        let (orders, cents) = (placed.len() as u64, placed.values().sum());
        Ok(Tally { orders, cents, repeated: *repeated })
    }
}

fn unavailable(error: &CallError) -> ShopError {
    ShopError::Unavailable(error.to_string())
}
