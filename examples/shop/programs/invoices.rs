//! The program `invoices` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{invoices, log};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("invoices", polywire::connect).prometheus().run(invoices::setup).await
}
