//! Arguments that are checked beyond their types: by the crate `garde`, while they are read.
//!
//! A value that is refused is answered as any other that is not what the method takes: with where and why. The handler never
//! runs.
//!
//! ```text
//! cargo run --features testing --example validation
//! ```

use garde::Validate;
use polywire::{CallError, MessagePack, Router, testing};
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// A value that has been validated. As an argument of a handler, or a field of one, it makes sure of it.
#[derive(Debug)]
struct Valid<T>(T);

impl<'de, T> Deserialize<'de> for Valid<T>
where
    T: Deserialize<'de> + Validate,
    T::Context: Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        value.validate().map_err(|report| D::Error::custom(report.to_string().trim_end()))?;
        Ok(Self(value))
    }
}

#[derive(Debug, Serialize, Deserialize, Validate)]
struct Order {
    #[garde(length(min = 1, max = 40))]
    item: String,
    #[garde(range(min = 1, max = 99))]
    count: u32,
}

#[tokio::main]
async fn main() -> Result<(), CallError> {
    let router = Router::new(MessagePack)
        .method("order", async |Valid(order): Valid<Order>| Ok(format!("{} × {}", order.count, order.item)));
    let shop = testing::client(router, MessagePack).await?;

    for (item, count) in [("pear", 3), ("pear", 0), ("", 100)] {
        let order = Order { item: item.to_owned(), count };
        match shop.call::<_, String>("order", &order).await {
            Ok(done) => println!("{done}"),
            Err(CallError::Fault(fault)) => println!("{fault}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
