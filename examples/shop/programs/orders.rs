//! The program `orders` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{log, orders};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("orders", polywire::connect).prometheus().run(orders::setup).await
}
