//! What goes wrong, and what is lost: the scenarios of `polywire-faults`.

use anyhow::{Result, bail};
use xshell::{Shell, cmd};

use crate::broker;

/// Runs the scenarios that are named, or all. AMQP is the only carrier that has any.
pub(crate) fn run(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let arguments = arguments.strip_prefix(&["amqp"]).unwrap_or(arguments);
    broker::install_if_missing(shell)?;
    Ok(cmd!(shell, "cargo run --locked --quiet -p polywire-faults -- {arguments...}").run()?)
}

/// Runs the one that lasts: ten minutes, or as many as are said.
pub(crate) fn soak(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let ["amqp", arguments @ ..] = arguments else { bail!("usage: cargo xtask soak amqp [--minutes N]") };
    broker::install_if_missing(shell)?;
    Ok(cmd!(shell, "cargo run --locked --quiet -p polywire-faults -- soak {arguments...}").run()?)
}
