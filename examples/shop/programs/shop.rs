//! All programs of the shop in one process, over memory. Each is a component of its own.

use polywire::App;
use polywire::app::{Component, Exit, Settings};
use polywire_example_shop::{dashboard, inventory, invoices, load, log, mailer, orders, payments};

#[tokio::main]
async fn main() -> Exit {
    log();
    match run().await {
        Ok(()) => Exit::Drained,
        Err(exit) => exit,
    }
}

async fn run() -> Result<(), Exit> {
    let app = |name: &str| App::new(Settings::new(name).url("mem://shop"), polywire::connect);
    let components: [Component; 6] = [
        app("inventory").start(inventory::setup).await?,
        app("payments").start(payments::setup).await?,
        app("orders").start(orders::setup).await?,
        app("invoices").start(invoices::setup).await?,
        app("mailer").start(mailer::setup).await?,
        app("dashboard").start(dashboard::setup).await?,
    ];
    let load = app("load").start(load::setup).await?.ended().await;
    for component in components {
        println!("{}: {}", component.name(), component.stop().await);
    }
    match load {
        Exit::Drained => Ok(()),
        failed => Err(failed),
    }
}
