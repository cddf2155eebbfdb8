//! The program `dashboard` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{dashboard, log};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("dashboard", polywire::connect).prometheus().run(dashboard::setup).await
}
