//! Side-by-side measurements: each subject echoes 64 bytes between two processes on loopback, in
//! one run.
//!
//! ```text
//! cargo run --release -p polywire-bench -- [--rounds 3] [--seconds 2] [--in-flight 1,64,512] [SUBJECT …]
//! ```
//!
//! Each round measures all subjects in turn: a machine that slows down affects all of them. The
//! table shows medians. Only ratios within one run are comparable. CPU time per call varies least.

mod bare_lapin;
mod bare_omq;
mod load;
mod options;
mod polywire_calls;
mod process;
mod subject;
mod table;

use anyhow::Result;
use clap::Parser;
use polywire_rabbitmq_node::Node;

use self::options::Options;
use self::subject::Subject;
use self::table::Table;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [role, subject, url] = arguments.as_slice()
        && role == process::SERVE
    {
        return runtime()?.block_on(Subject::named(subject)?.serve(url));
    }
    let options = Options::parse();
    let broker = options.needs_broker().then(Node::start).transpose()?;
    let broker_url = broker.as_ref().map(Node::url).unwrap_or_default();
    let mut table = Table::default();
    for round in 1..=options.rounds {
        for &in_flight in &options.in_flight {
            for &subject in options.subjects() {
                let figures = process::measure(subject, in_flight, options.seconds, &broker_url)?;
                eprintln!(
                    "round {round}: {:<16} {in_flight:>4} in flight: {figures}",
                    subject.name()
                );
                table.add(subject, in_flight, figures);
            }
        }
    }
    print!("{table}");
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
