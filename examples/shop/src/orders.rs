//! The orders: reserved, charged, and published as events.

use polywire::app::{BoxError, Component};
use polywire::{CallError, Fault, MessagePack, Publisher};

use crate::book::Book;
use crate::contracts::{
    InventoryClient, Order, Orders, OrdersServer, PaymentsClient, Placed, ShopError, Tally,
};

/// Puts the program together.
///
/// # Errors
///
/// Those of the transport and of the book.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let transport = app.transport();
    let counter = Counter {
        inventory: InventoryClient::connect(transport, "inventory", MessagePack).await?,
        payments: PaymentsClient::connect(transport, "payments", MessagePack).await?,
        events: Publisher::connect(transport, "order_events", MessagePack).await?,
        placed: Book::open("orders")?,
    };
    Ok(app.serve("orders", OrdersServer::new(counter, MessagePack)).await?)
}

struct Counter {
    inventory: InventoryClient<MessagePack>,
    payments: PaymentsClient<MessagePack>,
    events: Publisher<MessagePack>,
    /// The amounts of the orders.
    placed: Book<u64>,
}

impl Orders for Counter {
    async fn place(&self, order: Order) -> Result<u64, ShopError> {
        let number = order.number;
        // Each step may be repeated: after a crash, the client places the order again.
        let cents = self.inventory.reserve(order.clone()).await.map_err(passed_on)?;
        self.payments.charge(order.clone(), cents).await.map_err(passed_on)?;
        let event = Placed { order, cents };
        let published = self.events.publish(format!("{number}.placed"), &event).await;
        published.map_err(|error| ShopError::Unavailable(error.to_string()))?;
        self.placed.enter::<ShopError>(number, |_| Ok(cents))?;
        Ok(cents)
    }

    async fn tally(&self) -> Result<Tally, Fault> {
        self.placed.tally(|cents| *cents)
    }
}

/// Passes on what another program declares; the rest says that it does not answer.
fn passed_on(error: CallError<ShopError>) -> ShopError {
    match error {
        CallError::Declared(declared) => declared,
        error => ShopError::Unavailable(error.to_string()),
    }
}
