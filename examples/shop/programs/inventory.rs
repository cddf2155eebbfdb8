//! The program `inventory` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, inventory};

#[tokio::main]
async fn main() -> Exit {
    app("inventory").run(inventory::setup).await
}
