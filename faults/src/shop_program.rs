//! The programs of `examples/shop`, so that a scenario needs no other executable than this one.

use anyhow::{Result, bail};
use polywire::App;
use polywire::app::Exit;
use polywire_example_shop::{dashboard, inventory, invoices, load, log, mailer, orders, payments};

use crate::peer::input_ended;

/// The first argument of a program that is to [`run`] a program of the shop.
pub const ARGUMENT: &str = "--shop";

/// Runs the program of the shop with this name, as its own `main` does. All but `load` end with the
/// standard input as well, so that a run that is killed leaves no process behind.
///
/// Settings come from the environment, as in the programs of their own. `load` ends by itself when
/// its input ends.
///
/// # Errors
///
/// If there is no program with this name.
pub async fn run(arguments: &[String]) -> Result<Exit> {
    let [name] = arguments else { bail!("a program of the shop takes its name alone") };
    log();
    let app = App::from_env(name, polywire::connect).prometheus();
    let running = async {
        Ok(match &**name {
            "inventory" => app.run(inventory::setup).await,
            "payments" => app.run(payments::setup).await,
            "orders" => app.run(orders::setup).await,
            "invoices" => app.run(invoices::setup).await,
            "mailer" => app.run(mailer::setup).await,
            "dashboard" => app.run(dashboard::setup).await,
            "load" => app.run(load::setup).await,
            _ => bail!("the shop has no program {name:?}"),
        })
    };
    if name == "load" {
        return running.await;
    }
    tokio::select! {
        exit = running => exit,
        () = input_ended() => Ok(Exit::Drained),
    }
}
