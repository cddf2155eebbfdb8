//! Side-by-side measurements of polywire, the bare engines and other libraries, each as two
//! processes on loopback, in one run.
//!
//! ```text
//! cargo xtask bench
//! cargo xtask bench --quick
//! cargo xtask bench --part calls,open --rounds 5 --in-flight 1,64 zmq-raw omq-calls
//! ```
//!
//! Each round measures all subjects in turn: a machine that slows down affects all of them. The
//! tables show medians. Only ratios within one run are comparable. CPU time per call varies least.
//!
//! The program starts itself again as the server and as the client of each measurement. One private
//! RabbitMQ node serves all subjects that need a broker, and ends with the program.
//!
//! Standard output has the tables. Standard error has the progress, and the messages of the
//! processes. A measurement that fails is left out of the medians and listed below the tables, and
//! the program ends with an error after the run.
//!
//! Subjects that are other libraries are processes of other programs. All programs have the same
//! arguments and print the same lines: see `process`.

mod bare_lapin;
mod bare_omq;
mod bare_tcp;
mod bare_zeromq;
mod calls;
mod closed_loop;
mod columns;
mod deliveries;
mod echo;
mod export;
mod figures;
mod figures_line;
mod goals;
mod held_calls;
mod idle;
mod lapin_publisher;
mod lapin_streams;
mod latency;
mod markdown;
mod mode;
mod observed;
mod omq_events;
mod omq_setup;
mod open_loop;
mod options;
mod order_arguments;
mod page;
mod page_plots;
mod plan;
mod plot;
mod polywire_calls;
mod polywire_serving;
mod polywire_streams;
mod process;
mod programs;
mod progress;
mod roles;
mod run;
mod subject;
mod table;
mod trial;
mod usage;
mod waiting_calls;

use anyhow::{Result, ensure};
use clap::Parser;

use self::figures::Metric;
use self::markdown::Markdown;
use self::mode::Mode;
use self::options::Options;
use self::subject::Subject;
use self::trial::Order;

/// Serves if the first argument says so, calls if it says that, and runs the measurements
/// otherwise.
///
/// A role is found by the first argument, before options are parsed.
///
/// # Errors
///
/// If a role or a measurement fails. A parent does not read the exit code of a role: without a
/// line, the measurement fails.
fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [process::SERVE, subject, broker, mode @ ..] => {
            let (subject, mode) = (Subject::named(subject)?, Mode::read(mode)?);
            let broker = (*broker).to_owned();
            // A worker runs the loop of the server, and not the main thread.
            process::runtime()?.block_on(async move {
                tokio::spawn(async move { roles::serve(subject, &broker, mode).await }).await?
            })
        }
        [process::CALL, subject, at, order @ ..] => {
            let (subject, order) = (Subject::named(subject)?, Order::read(order)?);
            let mut figures = process::runtime()?.block_on(roles::call(subject, at, &order))?;
            let peak = usage::peak_memory(std::process::id())?;
            figures.set(Metric::ClientMib, peak as f64 / f64::from(1 << 20));
            figures.print()
        }
        _ => measure(&Options::parse()),
    }
}

/// Runs all measurements, and writes their results.
///
/// The tables are printed before a file is written, so a file that cannot be written loses no
/// table.
///
/// # Errors
///
/// If nothing can be measured, or if a measurement has failed; the results of the others are
/// written before.
fn measure(options: &Options) -> Result<()> {
    let table = run::run(options)?;
    print!("{}", Markdown(&table));
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", export::json(&table, options.rounds())))?;
    }
    if let Some(file) = &options.html {
        std::fs::write(file, page::page(&table, options.rounds()))?;
    }
    let failed = table.failures.len();
    ensure!(failed == 0, "{failed} measurements failed");
    Ok(())
}
