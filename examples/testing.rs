//! Tests of programs that use polywire: a service and its client in one line, a mock with scripted
//! answers and recorded calls, injected failures, and paused time.
//!
//! ```text
//! cargo run --features testing --example testing
//! cargo test --features testing --example testing
//! ```

use polywire::testing::{self, Mock};
use polywire::{CallError, Client, Code, Dialect, Fault, Json, Service, service};

/// A shop.
#[service]
trait Shop {
    /// Orders a quantity and returns the price.
    async fn order(&self, article: String, count: u32) -> Result<u64, Fault>;
}

/// A price list, served by another team, that the shop calls.
#[service]
trait Prices {
    /// Returns the price of one piece.
    #[method(idempotent, timeout = "2s")]
    async fn price(&self, article: String) -> Result<u64, Fault>;
}

/// The code under test: a shop with any source of prices.
struct Corner<D, S> {
    prices: PricesClient<D, S>,
}

impl<D: Dialect, S: Service> Shop for Corner<D, S> {
    async fn order(&self, article: String, count: u32) -> Result<u64, Fault> {
        let price = self.prices.price(article).await?;
        price
            .checked_mul(count.into())
            .ok_or_else(|| Fault::new(Code::Application, "the price is too large"))
    }
}

/// Serves the shop over memory with mocked prices.
async fn shop(prices: Mock<Json>) -> Result<ShopClient<Json, testing::Local>, CallError> {
    let prices = PricesClient::from(Client::new(prices, Json));
    Ok(ShopClient::from(testing::client(ShopServer::new(Corner { prices }, Json), Json).await?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), CallError> {
    let prices = Mock::new(Json)
        .answer("price", 250)
        .fault("price", Fault::new(Code::Application, "sold out"));
    let shop = shop(prices.clone()).await?;
    println!("two hats: {}", shop.order("hat".to_owned(), 2).await?);
    println!(
        "one more: {}",
        shop.order("hat".to_owned(), 1).await.err().map_or_else(String::new, |e| e.to_string())
    );
    println!("the price list was asked for {:?}", prices.methods());
    prices.assert_used_up();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use polywire::middleware::{Backoff, Retry};
    use polywire::testing::FlakyTransport;
    use polywire::{Memory, Server};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn order_asks_for_the_price_of_the_article() -> Result<(), CallError> {
        let prices = Mock::new(Json).answer("price", 250);
        assert_eq!(shop(prices.clone()).await?.order("hat".to_owned(), 2).await?, 500);
        assert_eq!(prices.methods(), ["price"]);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn order_gives_up_when_the_prices_do_not_answer() -> Result<(), CallError> {
        let start = Instant::now();
        let shop = shop(Mock::new(Json).hang("price")).await?;
        let error = shop.order("hat".to_owned(), 2).await.unwrap_err();
        assert_eq!(error.fault().map(|fault| fault.code), Some(Code::DeadlineExceeded));
        assert_eq!(start.elapsed().as_secs(), 2);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn order_is_tried_again_when_the_link_is_lost() -> Result<(), CallError> {
        let memory = Memory::new();
        let prices = PricesClient::from(Client::new(Mock::new(Json).answer("price", 250), Json));
        tokio::spawn(
            Server::bind(&memory, "shop").await?.serve(ShopServer::new(Corner { prices }, Json)),
        );
        let transport = FlakyTransport::over(memory.peer());
        let retry = Retry::new().backoff(Backoff::constant(Duration::from_secs(1)));
        let shop = ShopClient::from(Client::connect(&transport, "shop", Json).await?.layer(&retry));
        transport.fail_next(2);
        assert_eq!(shop.order("hat".to_owned(), 2).await?, 500);
        Ok(())
    }
}
