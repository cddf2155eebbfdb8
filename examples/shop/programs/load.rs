//! The program `load` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, load};

#[tokio::main]
async fn main() -> Exit {
    app("load").run(load::setup).await
}
