//! The chores of polywire.
//!
//! ```text
//! cargo xtask test          all tests, with a private RabbitMQ node
//! cargo xtask conformance   the suite on every backend, side by side
//! cargo xtask features      each set of features compiles
//! cargo xtask examples      the examples run, also as several processes
//! cargo xtask costs         what a call costs over memory, in instructions and allocations, by valgrind
//! cargo xtask faults        what is lost while brokers, servers and links fail, counted: minutes
//! cargo xtask soak amqp     the same for as long as you like, with an eye on memory
//! ```

mod broker;
mod conformance;
mod costs;
mod examples;
mod faults;
mod features;
mod test;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use xshell::Shell;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test", rest @ ..] => test::run(&shell, rest),
        ["conformance", rest @ ..] => conformance::run(&shell, rest),
        ["features"] => features::run(&shell),
        ["costs"] => costs::run(&shell),
        ["examples"] => examples::run(&shell),
        ["faults", rest @ ..] => faults::run(&shell, rest),
        ["soak", rest @ ..] => faults::soak(&shell, rest),
        _ => bail!(
            "usage: cargo xtask test [ARGUMENTS OF cargo test] | conformance | costs | features | examples | faults | soak"
        ),
    }
}
