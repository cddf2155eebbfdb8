//! The program `dashboard` of the shop; see the library of this package.

use polywire::app::Exit;
use polywire_example_shop::{app, dashboard};

#[tokio::main]
async fn main() -> Exit {
    app("dashboard").run(dashboard::setup).await
}
