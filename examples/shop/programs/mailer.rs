//! The program `mailer` of the shop; see the library of this package.

use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{log, mailer};

#[tokio::main]
async fn main() -> Exit {
    log();
    App::from_env("mailer", polywire::connect).prometheus().run(mailer::setup).await
}
