//! A private RabbitMQ node, installed if need be.

use anyhow::{Context, Result, bail};
use polywire_rabbitmq_node::Node;
use xshell::{Shell, cmd};

pub(crate) fn start(shell: &Shell) -> Result<Node> {
    install_if_missing(shell)?;
    Node::start().context("the private RabbitMQ node did not start")
}

pub(crate) fn install_if_missing(shell: &Shell) -> Result<()> {
    if Node::is_installed() { Ok(()) } else { install(shell) }
}

/// Installs Debian's package, which starts no service by itself where a policy denies it.
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
            "rabbitmq-server is missing and could not be installed. Install it (on Debian: apt-get install rabbitmq-server) and try again: the tests of AMQP are not skipped"
        );
    }
    Ok(())
}
