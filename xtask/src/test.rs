//! All tests, with a private RabbitMQ node.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::broker;

pub(crate) fn run(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let node = broker::start(shell)?;
    let url = node.url();
    println!("a private RabbitMQ node serves the tests");
    let everything = arguments.is_empty();
    let arguments = if everything { &["--workspace", "--all-features"] } else { arguments };
    cmd!(shell, "cargo test --locked {arguments...}").env("POLYWIRE_AMQP_URL", url).run()?;
    if everything {
        println!("everything ran: units, documentation, and the suite on memory, ZeroMQ and RabbitMQ");
    }
    Ok(())
}
