//! The program `payments` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{log, payments};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("payments", polywire::connect).prometheus().run(payments::setup).await
}
