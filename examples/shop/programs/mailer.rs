//! The program `mailer` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, mailer};

#[tokio::main]
async fn main() -> Exit {
    app("mailer").run(mailer::setup).await
}
