//! Arguments and results that are checked beyond their types, by the crate `garde`, while they are
//! read and written.
//!
//! An argument that is refused is answered as any other that is not what the method takes: with
//! where and why; the handler never runs. A result that is refused does not leave its server.
//!
//! ```text
//! cargo run --features testing --example validation
//! ```

use polywire::{CallError, Fault, MessagePack, service, testing};
use serde::{Deserialize, Serialize};

/// Lets `garde` check whatever it can check.
struct Garde;

impl<T: garde::Validate<Context: Default>> polywire::Validate<T> for Garde {
    type Error = garde::Report;

    fn validate(value: &T) -> Result<(), garde::Report> {
        value.validate()
    }
}

type Valid<T> = polywire::Valid<T, Garde>;

#[derive(Clone, Debug, Serialize, Deserialize, garde::Validate)]
struct Order {
    #[garde(length(min = 1, max = 40))]
    item: String,
    #[garde(range(min = 1, max = 99))]
    count: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, garde::Validate)]
struct Bill {
    #[garde(range(max = 10_000))]
    cents: u32,
}

/// Sells.
#[service]
trait Shop {
    /// Both what it takes and what it answers are checked.
    async fn order(&self, order: Valid<Order>) -> Result<Valid<Bill>, Fault>;
}

struct Corner;

impl Shop for Corner {
    async fn order(&self, order: Valid<Order>) -> Result<Valid<Bill>, Fault> {
        Ok(Bill { cents: order.count * 250 }.into())
    }
}

#[tokio::main]
async fn main() -> Result<(), CallError> {
    let client = testing::client(ShopServer::new(Corner, MessagePack), MessagePack).await?;
    let shop = ShopClient::from(client.clone());
    let order = |item: &str, count| Order { item: item.to_owned(), count };

    println!("{:?}", shop.order(order("pear", 3).into()).await?);
    // Refused where it is sent.
    println!("{}", refused(shop.order(order("pear", 0).into()).await));
    // Refused where it arrives, from somebody who did not check.
    let unchecked = client.call::<Bill>("order", &(order("", 100),)).await;
    println!("{}", refused(unchecked));
    // Refused before it leaves the server.
    println!("{}", refused(shop.order(order("pear", 99).into()).await));
    Ok(())
}

fn refused<T>(outcome: Result<T, CallError>) -> String {
    outcome.err().map_or_else(|| "it went through".to_owned(), |error| error.to_string())
}
