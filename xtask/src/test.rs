//! All tests, with a private RabbitMQ node.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{broker, conformance};

pub(crate) fn run(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let node = broker::start(shell)?;
    let url = node.url();
    println!("a private RabbitMQ node serves the tests");
    let _url = shell.push_env("POLYWIRE_AMQP_URL", url);
    if !arguments.is_empty() {
        return Ok(cmd!(shell, "cargo test --locked {arguments...}").run()?);
    }
    let _reports = shell.push_env(conformance::REPORTS, conformance::fresh_reports(shell)?);
    cmd!(shell, "cargo test --locked --no-fail-fast --workspace --all-features").run()?;
    conformance::check_reports(shell)?;
    println!("everything ran: units, documentation, and the suite on memory, ZeroMQ and RabbitMQ");
    Ok(())
}
