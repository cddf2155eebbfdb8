//! A private RabbitMQ node, installed on demand.

use anyhow::{Context, Result, bail};
use polywire_rabbitmq_node::Node;
use xshell::{Shell, cmd};

/// Starts a node on free ports.
pub(crate) fn start(shell: &Shell) -> Result<Node> {
    install_if_missing(shell)?;
    Node::start().context("cannot start the private RabbitMQ node")
}

/// Installs RabbitMQ unless it is installed.
///
/// # Errors
///
/// If the package cannot be installed: the tests of AMQP are not skipped.
pub(crate) fn install_if_missing(shell: &Shell) -> Result<()> {
    if Node::is_installed() { Ok(()) } else { install(shell) }
}

/// Installs Debian's package. The package starts no service where a policy denies it.
fn install(shell: &Shell) -> Result<()> {
    println!("rabbitmq-server is missing: installing Debian's package");
    let _quiet = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    let root = cmd!(shell, "id -u").read()? == "0";
    let (program, words): (_, &[_]) =
        if root { ("apt-get", &[]) } else { ("sudo", &["--non-interactive", "apt-get"]) };
    let update = cmd!(shell, "{program} {words...} update").run();
    let installed = cmd!(shell, "{program} {words...} install --yes rabbitmq-server").run();
    if update.and(installed).is_err() {
        bail!(
            "cannot install rabbitmq-server, which the tests of AMQP need: install it by hand (on Debian: apt-get install rabbitmq-server) and run the task again"
        );
    }
    Ok(())
}
