//! The program `orders` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, orders};

#[tokio::main]
async fn main() -> Exit {
    app("orders").run(orders::setup).await
}
