//! Arguments and results that the crate `garde` validates while they are decoded and encoded.
//!
//! An invalid argument is answered with its path and the reason, and the handler never runs. An
//! invalid result does not leave its server.
//!
//! ```text
//! cargo run -p polywire-examples --example validation
//! ```

use polywire::{CallError, Fault, MessagePack, service, testing};
use serde::{Deserialize, Serialize};

/// A validator that applies `garde` to every type that supports it.
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

/// A shop.
#[service]
trait Shop {
    /// Argument and result are both validated.
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
    // Rejected by the client.
    println!("{}", refused(shop.order(order("pear", 0).into()).await));
    // Rejected by the server, when a client did not validate.
    let unchecked = client.call::<Bill>("order", &(order("", 100),)).await;
    println!("{}", refused(unchecked));
    // Rejected before the result leaves the server.
    println!("{}", refused(shop.order(order("pear", 99).into()).await));
    Ok(())
}

fn refused<T>(outcome: Result<T, CallError>) -> String {
    outcome.err().map_or_else(|| "it went through".to_owned(), |error| error.to_string())
}
