//! The program `invoices` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, invoices};

#[tokio::main]
async fn main() -> Exit {
    app("invoices").run(invoices::setup).await
}
