//! Side-by-side measurements: each subject echoes a body between two processes on loopback, in one
//! run.
//!
//! ```text
//! cargo xtask bench
//! cargo xtask bench --quick
//! cargo xtask bench --rounds 5 --in-flight 1,64 --body 64,4096 zmq-raw omq-calls
//! ```
//!
//! Each round measures all subjects in turn: a machine that slows down affects all of them. The
//! table shows medians. Only ratios within one run are comparable. CPU time per call varies least.
//!
//! The program starts itself again as the server of each measurement, with `--serve` as the first
//! argument. One private RabbitMQ node serves all subjects that need a broker, and ends with the
//! program.

mod bare_lapin;
mod bare_omq;
mod bare_tcp;
mod export;
mod latency;
mod load;
mod options;
mod page;
mod peer;
mod plot;
mod polywire_calls;
mod process;
mod subject;
mod table;
mod waiting_calls;

use anyhow::Result;
use clap::Parser;
use polywire_rabbitmq_node::Node;

use self::load::Load;
use self::options::Options;
use self::subject::Subject;
use self::table::Table;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [role, subject, url] = arguments.as_slice()
        && role == process::SERVE
    {
        return process::runtime()?.block_on(Subject::named(subject)?.serve(url));
    }
    let options = Options::parse();
    let broker = options.needs_broker().then(Node::start).transpose()?;
    let broker_url = broker.as_ref().map(Node::url).unwrap_or_default();
    let mut table = Table::new(options.against);
    let (rounds, duration) = options.extent();
    for round in 1..=rounds {
        for load in options.loads() {
            for subject in options.subjects() {
                let peers = options.peers.as_deref().filter(|_| subject.is_peer());
                let figures = match peers {
                    Some(program) => peer::measure(program, subject, load, duration)?,
                    None => process::measure(subject, load, duration, &broker_url)?,
                };
                let (name, Load { body, in_flight }) = (subject.name(), load);
                eprintln!(
                    "round {round} of {rounds}: {name:<12} {in_flight:>4} in flight, \
                     {body} bytes: {figures}"
                );
                table.add(subject, load, figures);
            }
        }
    }
    print!("{table}");
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", export::json(&table, rounds)))?;
    }
    if let Some(file) = &options.html {
        std::fs::write(file, page::page(&table, rounds))?;
    }
    Ok(())
}
