//! The program `load` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{load, log};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("load", polywire::connect).prometheus().run(load::setup).await
}
