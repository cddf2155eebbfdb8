//! The programs of `examples/shop`, so that a scenario needs no other executable than this one.

use anyhow::{Result, bail};
use polywire::app::{Exit, Layers};
use polywire::middleware::{Middleware, layer};
use polywire::{App, CallError, Reply, Request, Service};
use polywire_example_shop::{dashboard, inventory, invoices, load, log, mailer, orders, payments};

use crate::peer::input_ended;

/// The first argument of a program that is to [`run`] a program of the shop.
pub const ARGUMENT: &str = "--shop";

/// The id of the message that aborts the mailer: a job that a bug of the program makes poison.
pub(crate) const POISON: &str = "poison-mail";

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
            "mailer" => {
                let layers = Layers::new().layer(layer(AbortAtPoison));
                app.layers(layers).run(mailer::setup).await
            }
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

/// Middleware that aborts the process at the message [`POISON`].
#[derive(Clone)]
struct AbortAtPoison;

impl Middleware for AbortAtPoison {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        if request.message.message_id.as_ref().is_some_and(|id| id.as_str() == POISON) {
            std::process::abort();
        }
        next.call(request).await
    }
}
