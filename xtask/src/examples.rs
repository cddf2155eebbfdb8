//! The examples: each runs on the transports that it is for, and prints the expected lines.
//!
//! Each example is a process of its own, so two runs over memory share nothing. The lines that an
//! example has to print are in `expected`. The calculator and the shop consist of several
//! processes, and have modules of their own.

mod calculator;
mod expected;
mod ports;
mod runner;
mod shop;

use anyhow::Result;
use clap::Args;
use xshell::Shell;

use self::expected::{EVERYWHERE, JSON_RPC, MEMORY_ONLY, On, RETRIES, TRANSPORTS};
use self::ports::free_port;
use self::runner::Runner;
use crate::broker;
use crate::programs;
use crate::temporary::TemporaryFolder;

/// The URL for a run over memory.
const MEMORY: &str = "mem://example";

/// Options of `cargo xtask examples`.
#[derive(Args, Debug)]
pub(crate) struct ExampleOptions {
    /// Run the shop alone.
    #[arg(long)]
    shop: bool,
}

/// Builds all examples with the features of the workspace, as the tests do, and runs them.
///
/// Examples for memory alone come first, before the node starts. Then follow the examples for each
/// transport, the retries, a wire format over RabbitMQ, all transports in one process, the
/// calculator, and the shop. One node serves all examples, and ends with the task.
///
/// The first failure ends the task. In the end, the folder for temporary files has to be empty.
pub(crate) fn run(shell: &Shell, options: &ExampleOptions) -> Result<()> {
    let programs = programs::build_examples(shell)?;
    let temporary = TemporaryFolder::create("examples")?;
    let runner = Runner { programs: &programs, temporary: &temporary };
    if options.shop {
        shop::check(&runner, &broker::start(shell)?.url())?;
        return temporary.check_empty();
    }
    for example in &MEMORY_ONLY {
        runner.check(example, On::Memory, &[])?;
    }
    let node = broker::start(shell)?;
    let broker = node.url();
    for example in &EVERYWHERE {
        // The default is ZeroMQ.
        runner.check(example, On::Zmq, &[])?;
        runner.check(example, On::Memory, &[MEMORY])?;
        runner.check(example, On::Amqp, &[&broker])?;
    }
    // ZeroMQ has no retries; the default is memory.
    runner.check(&RETRIES, On::Memory, &[])?;
    runner.check(&RETRIES, On::Amqp, &[&broker])?;
    runner.check(&JSON_RPC, On::Amqp, &[&broker])?;
    let (first, second) = (free_port()?, free_port()?);
    let zmq = format!("zmq+tcp://127.0.0.1:{first}");
    runner.check(&TRANSPORTS, On::Memory, &[MEMORY, &zmq, &broker])?;
    let servers = [zmq, format!("zmq+tcp://127.0.0.1:{second}")];
    let client = format!("zmq+tcp://127.0.0.1:{first},127.0.0.1:{second}");
    calculator::check(&runner, &servers, &client)?;
    calculator::check(&runner, &[broker.clone(), broker.clone()], &broker)?;
    shop::check(&runner, &broker)?;
    temporary.check_empty()
}
