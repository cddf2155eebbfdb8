//! The program `payments` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, payments};

#[tokio::main]
async fn main() -> Exit {
    app("payments").run(payments::setup).await
}
