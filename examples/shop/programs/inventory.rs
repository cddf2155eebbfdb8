//! The program `inventory` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{inventory, log};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("inventory", polywire::connect).prometheus().run(inventory::setup).await
}
