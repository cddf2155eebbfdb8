//! What goes wrong, and what is lost: the scenarios of `polywire-faults`.

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::broker;

/// Runs the scenarios of AMQP that are named, or all; or those of ZeroMQ, which are tests that take
/// minutes.
pub(crate) fn run(shell: &Shell, arguments: &[&str]) -> Result<()> {
    if let ["zmq", arguments @ ..] = arguments {
        let tests = ["--test", "hostile", "--test", "it"];
        let run = cmd!(shell, "cargo test --locked -p polywire-zmq --all-features {tests...}");
        return Ok(run.args(["--", "--ignored", "--nocapture"]).args(arguments).run()?);
    }
    let arguments = arguments.strip_prefix(&["amqp"]).unwrap_or(arguments);
    broker::install_if_missing(shell)?;
    Ok(cmd!(shell, "cargo run --locked --quiet -p polywire-faults -- {arguments...}").run()?)
}

/// Runs the one that lasts: ten minutes, or as many as are said.
pub(crate) fn soak(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let ["amqp", arguments @ ..] = arguments else {
        bail!("usage: cargo xtask soak amqp [--minutes N]")
    };
    broker::install_if_missing(shell)?;
    Ok(cmd!(shell, "cargo run --locked --quiet -p polywire-faults -- soak {arguments...}").run()?)
}
