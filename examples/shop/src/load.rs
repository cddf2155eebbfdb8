//! The load: customers that place orders, each of them twice, and a comparison of the books.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use polywire::app::{BoxError, Component};
use polywire::{CallError, MessagePack};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::book::Book;
use crate::contracts::{
    InventoryClient, Order, OrdersClient, PaymentsClient, ReportClient, ShopError, Tally,
};

/// The variable of the number of orders. With the value [`ENDLESS`], customers place orders until
/// the standard input ends, and no books are compared.
pub const ORDERS_VARIABLE: &str = "SHOP_ORDERS";

/// A number of orders without a bound.
pub const ENDLESS: &str = "endless";

/// The default number of orders.
const ORDERS: u64 = 200;

/// Orders that wait for an answer at the same time.
const CUSTOMERS: usize = 200;

/// The time between two orders without a bound.
const PACE: Duration = Duration::from_millis(20);

/// Time for an order to be answered, and for invoices, mails and the dashboard to follow: longer
/// than a shop of which a program, or the broker, does not work for a while.
const PATIENCE: Duration = Duration::from_mins(10);

/// The time before an order that was not answered is placed again.
const PAUSE: Duration = Duration::from_millis(100);

/// Puts the program together: a task that ends the component when the books agree.
///
/// # Errors
///
/// Those of the transport and of the book, and of a number of orders that is none.
pub async fn setup(app: Component) -> Result<(), BoxError> {
    let orders = match std::env::var(ORDERS_VARIABLE) {
        Ok(number) if number == ENDLESS => None,
        Ok(number) => Some(number.parse()?),
        Err(_) => Some(ORDERS),
    };
    let transport = app.transport();
    let shop = OrdersClient::connect(transport, "orders", MessagePack).await?;
    let books = Books {
        orders: shop.clone(),
        inventory: InventoryClient::connect(transport, "inventory", MessagePack).await?,
        payments: PaymentsClient::connect(transport, "payments", MessagePack).await?,
        invoices: ReportClient::connect(transport, "invoices", MessagePack).await?,
        mailer: ReportClient::connect(transport, "mailer", MessagePack).await?,
        dashboard: ReportClient::connect(transport, "dashboard", MessagePack).await?,
    };
    let customers = Arc::new(Customers { shop, answered: Book::open("customers")? });
    let component = app.clone();
    app.spawn("load", async move {
        match orders {
            Some(orders) => {
                let cents = customers.place(orders, PACE / 1_000, pending()).await?;
                let agreed = timeout(PATIENCE, books.agree(orders, cents)).await;
                agreed.map_err(|_| "the books do not agree")??;
            }
            None => {
                let cents = customers.place(u64::MAX, PACE, input_ended()).await?;
                println!("answered: {cents} cents");
            }
        }
        component.request_stop();
        Ok(())
    });
    Ok(())
}

/// All customers.
struct Customers {
    shop: OrdersClient<MessagePack>,
    /// The amounts of the orders that were answered.
    answered: Book<u64>,
}

impl Customers {
    /// Places orders until `end`, each twice at the same time, waits until all are answered, and
    /// returns the sum of their amounts.
    async fn place(
        self: &Arc<Self>,
        orders: u64,
        pace: Duration,
        end: impl Future<Output = ()> + Send,
    ) -> Result<u64, BoxError> {
        let mut end = pin!(end);
        let (mut placing, waiting) = (JoinSet::new(), Arc::new(Semaphore::new(CUSTOMERS)));
        let mut pace = interval(pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..orders {
            let permit = waiting.clone().acquire_owned().await?;
            tokio::select! {
                biased;
                () = &mut end => break,
                _ = pace.tick() => {}
            }
            let customers = self.clone();
            placing.spawn(async move {
                let _permit = permit;
                timeout(PATIENCE, customers.order(number)).await.map_err(|_| "no answer")?
            });
        }
        let mut cents = 0;
        while let Some(placed) = placing.join_next().await {
            cents += placed??;
        }
        Ok(cents)
    }

    async fn order(&self, number: u64) -> Result<u64, BoxError> {
        let article = if number.is_multiple_of(2) { "hat" } else { "scarf" }.to_owned();
        let customer = format!("customer {}", number % 7);
        let order = Order { number, customer, article, pieces: 1 + (number % 3) as u32 };
        let (first, second) = tokio::join!(self.insist(order.clone()), self.insist(order));
        let (first, second) = (first?, second?);
        if first != second {
            return Err(BoxError::from("one order, two amounts"));
        }
        self.answered.enter::<io::Error>(number, |_| Ok(first))?;
        Ok(first)
    }

    /// Places an order until the shop answers. The shop knows a repetition by the number.
    async fn insist(&self, order: Order) -> Result<u64, CallError<ShopError>> {
        loop {
            match self.shop.place(order.clone()).await {
                Err(error) if !is_final(&error) => sleep(PAUSE).await,
                answered => return answered,
            }
        }
    }
}

/// Returns whether the shop has refused the order.
fn is_final(error: &CallError<ShopError>) -> bool {
    matches!(error, CallError::Declared(declared) if !matches!(declared, ShopError::Unavailable(_)))
}

/// Waits until the standard input ends, in a thread that the runtime does not wait for.
async fn input_ended() {
    let (ends, end) = oneshot::channel();
    std::thread::spawn(move || {
        // An error counts as the end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _: Result<(), ()> = ends.send(());
    });
    let _ = end.await;
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
    async fn agree(&self, orders: u64, cents: u64) -> Result<(), BoxError> {
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
                (tally.orders, tally.cents) == (orders, *cents)
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
