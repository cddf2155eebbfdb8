//! A shop of seven programs. Each module has one of them: its service, and the `setup` that puts it
//! together. The programs themselves, in `programs/`, are one line each.
//!
//! Each program keeps a book of what it has done, in memory: what happens "once" happens once in
//! the lifetime of one process. If `SHOP_BOOKS` names a folder, the books are files there, which
//! outlive the processes, and replicas of a program share its book. A real program has a database
//! instead.
//!
//! | program | serves | uses |
//! |---|---|---|
//! | `inventory` | the service `inventory` | |
//! | `payments` | the service `payments`; charges an order once | |
//! | `orders` | the service `orders` | `inventory`, `payments`; publishes `order_events` |
//! | `invoices` | the events `order_events`, the service `invoices` | pushes to `mails` |
//! | `mailer` | the queue `mails`, the service `mailer` | |
//! | `dashboard` | the events `order_events`, the service `dashboard` | |
//! | `load` | | places orders, and compares what became of them |
//!
//! ```text
//! # All of them in one process, over memory:
//! cargo run -p polywire-example-shop --example shop
//! # A program of its own, over RabbitMQ:
//! POLYWIRE_URL=amqp://guest:guest@localhost cargo run -p polywire-example-shop --example orders
//! # The same with probes and metrics, at http://127.0.0.1:9090/metrics:
//! POLYWIRE_PROBE=127.0.0.1:9090 POLYWIRE_URL=… cargo run -p polywire-example-shop --example orders
//! # Over ZeroMQ, each name has its own URL, and all programs have the same variables:
//! POLYWIRE_URL_ORDERS=zmq+tcp://127.0.0.1:5601 POLYWIRE_URL_PAYMENTS=zmq+tcp://127.0.0.1:5602 …
//! ```

pub mod book;
pub mod contracts;
pub mod dashboard;
pub mod inventory;
pub mod invoices;
pub mod load;
pub mod mailer;
pub mod orders;
pub mod payments;

use std::sync::{Mutex, MutexGuard, PoisonError};

use polywire::App;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Describes a program of the shop, with a log and metrics: its settings come from the environment.
pub fn app(name: &str) -> App {
    log();
    App::from_env(name, polywire::connect).prometheus()
}

/// Writes log lines to standard error: those that `RUST_LOG` selects, or level `info` and above.
pub fn log() {
    let default = LevelFilter::INFO.into();
    let filter = EnvFilter::builder().with_default_directive(default).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Locks a mutex. No code of the shop panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    /// The programs. The eighth one, `shop`, shows all of them in one process.
    const PROGRAMS: [&str; 7] = [
        include_str!("../programs/inventory.rs"),
        include_str!("../programs/payments.rs"),
        include_str!("../programs/orders.rs"),
        include_str!("../programs/invoices.rs"),
        include_str!("../programs/mailer.rs"),
        include_str!("../programs/dashboard.rs"),
        include_str!("../programs/load.rs"),
    ];

    /// Returns the lines of a function of this file.
    fn function(start: &'static str) -> impl Iterator<Item = &'static str> {
        let lines = include_str!("lib.rs").lines();
        let lines = lines.skip_while(move |line| !line.starts_with(start));
        lines.take_while(|line| *line != "}").chain(["}"])
    }

    /// Returns whether a line is code, other than an import of one line.
    fn is_glue(line: &str) -> bool {
        let line = line.trim();
        !(line.is_empty() || line.starts_with("//") || line.starts_with("use "))
    }

    /// Counts the programs and what they share. Imports are left out.
    #[test]
    fn programs_have_less_than_40_lines_of_glue_together() {
        let lines = PROGRAMS.iter().flat_map(|program| program.lines());
        let shared = function("pub fn app").chain(function("pub fn log"));
        let glue = lines.chain(shared).filter(|line| is_glue(line)).count();
        assert!((30..40).contains(&glue), "{glue} lines");
    }
}
