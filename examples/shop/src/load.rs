//! The load: customers that place orders, each of them twice, and a comparison of the books.

use std::time::Duration;

use polywire::MessagePack;
use polywire::app::{BoxError, Component};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::contracts::{InventoryClient, Order, OrdersClient, PaymentsClient, ReportClient, Tally};

/// The number of orders.
const ORDERS: u64 = 200;

/// Time for invoices, mails and the dashboard to follow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Puts the program together: a task that ends the component when the books agree.
///
/// # Errors
///
/// Those of the transport.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let transport = app.transport();
    let orders = OrdersClient::connect(transport, "orders", MessagePack).await?;
    let books = Books {
        orders: orders.clone(),
        inventory: InventoryClient::connect(transport, "inventory", MessagePack).await?,
        payments: PaymentsClient::connect(transport, "payments", MessagePack).await?,
        invoices: ReportClient::connect(transport, "invoices", MessagePack).await?,
        mailer: ReportClient::connect(transport, "mailer", MessagePack).await?,
        dashboard: ReportClient::connect(transport, "dashboard", MessagePack).await?,
    };
    let component = app.clone();
    app.spawn("load", async move {
        let cents = place(&orders).await?;
        timeout(PATIENCE, books.agree(cents)).await.map_err(|_| "the books do not agree")??;
        component.request_stop();
        Ok(())
    });
    Ok(())
}

/// Places all orders, each twice at the same time, and returns the sum of their amounts.
async fn place(orders: &OrdersClient<MessagePack>) -> Result<u64, BoxError> {
    let mut placing = JoinSet::new();
    for number in 0..ORDERS {
        let article = if number % 2 == 0 { "hat" } else { "scarf" }.to_owned();
        let customer = format!("customer {}", number % 7);
        let order = Order { number, customer, article, pieces: 1 + (number % 3) as u32 };
        let orders = orders.clone();
        placing.spawn(async move {
            let (first, second) = tokio::join!(orders.place(order.clone()), orders.place(order));
            let (first, second) = (first?, second?);
            if first == second { Ok(first) } else { Err(BoxError::from("one order, two amounts")) }
        });
    }
    let mut cents = 0;
    while let Some(placed) = placing.join_next().await {
        cents += placed??;
    }
    Ok(cents)
}

/// The programs that know about orders.
struct Books {
    orders: OrdersClient<MessagePack>,
    inventory: InventoryClient<MessagePack>,
    payments: PaymentsClient<MessagePack>,
    invoices: ReportClient<MessagePack>,
    mailer: ReportClient<MessagePack>,
    dashboard: ReportClient<MessagePack>,
}

impl Books {
    /// Asks the books until each has every order, and prints them.
    async fn agree(&self, cents: u64) -> Result<(), BoxError> {
        let mut pause = interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            let books = [
                ("placed", self.orders.tally().await?, cents),
                ("reserved", self.inventory.tally().await?, cents),
                ("charged", self.payments.tally().await?, cents),
                ("invoiced", self.invoices.tally().await?, cents),
                ("mailed", self.mailer.tally().await?, 0),
                ("on the dashboard", self.dashboard.tally().await?, cents),
            ];
            let agrees = |(_, tally, cents): &(_, Tally, u64)| {
                (tally.orders, tally.cents) == (ORDERS, *cents)
            };
            if books.iter().all(agrees) {
                for (book, tally, _) in books {
                    println!("{book}: {}, {} repeated", tally.orders, tally.repeated);
                }
                println!("nothing was charged twice: {cents} cents");
                return Ok(());
            }
        }
    }
}
