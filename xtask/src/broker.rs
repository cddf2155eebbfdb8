//! RabbitMQ for tests: versions to choose from, their preparation, and a private node.
//!
//! 3.10 is Debian 12's package on this machine. The others are packages of later releases, each in
//! a system of its own below `target/brokers`, which `debootstrap` makes.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use polywire_rabbitmq_node::{Node, ROOT, Setup};
use xshell::{PushEnv, Shell, cmd};

/// A version of RabbitMQ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerVersion {
    /// Debian 12's, installed on this machine.
    #[default]
    #[value(name = "3.10")]
    V3_10,
    /// Debian 13's.
    #[value(name = "4.0")]
    V4_0,
    /// That of Debian's unstable release.
    #[value(name = "4.3")]
    V4_3,
}

impl BrokerVersion {
    /// Returns the name of the version and the release of Debian that has it. `None` for the
    /// version that is installed on the machine.
    fn release(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::V3_10 => None,
            Self::V4_0 => Some(("4.0", "trixie")),
            Self::V4_3 => Some(("4.3", "sid")),
        }
    }
}

/// Starts a node of the version that is installed on this machine.
pub(crate) fn start(shell: &Shell) -> Result<Node> {
    Broker::prepare(shell, BrokerVersion::V3_10)?.start()
}

/// Options of `cargo xtask broker`.
#[derive(Args, Debug)]
pub(crate) struct BrokerOptions {
    version: BrokerVersion,
}

/// A version that is ready to run nodes.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Root of the system that has it; `None` for this machine.
    root: Option<PathBuf>,
}

impl Broker {
    /// Prepares a version, unless that was done before.
    ///
    /// The version of the machine is installed by `apt-get` if it is missing. Another version is
    /// unpacked below `target/brokers`, which needs root and takes minutes; later calls find the
    /// folder.
    ///
    /// # Errors
    ///
    /// If its packages cannot be installed: the tests of AMQP are not skipped.
    pub(crate) fn prepare(shell: &Shell, version: BrokerVersion) -> Result<Self> {
        let Some((name, release)) = version.release() else {
            install_if_missing(shell)?;
            return Ok(Self { root: None });
        };
        let root = shell.current_dir().join("target/brokers").join(name);
        if !root.exists() {
            make_system(shell, &root, release)?;
        }
        Ok(Self { root: Some(root.canonicalize()?) })
    }

    /// Starts a node on free ports.
    pub(crate) fn start(&self) -> Result<Node> {
        let setup = self.root.iter().fold(Setup::new(), Setup::root);
        setup.start().context("cannot start the private RabbitMQ node")
    }

    /// Returns the environment for programs that start nodes of this version: empty for the version
    /// that is installed on the machine.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        self.root.iter().map(|root| (ROOT.into(), root.into())).collect()
    }

    /// Sets the environment for the programs of a shell, while the result lives.
    pub(crate) fn push_environment<'s>(&self, shell: &'s Shell) -> Vec<PushEnv<'s>> {
        self.environment().into_iter().map(|(name, value)| shell.push_env(name, value)).collect()
    }
}

/// Prepares a version, starts a node of it, and prints what it is.
pub(crate) fn run(shell: &Shell, options: &BrokerOptions) -> Result<()> {
    let node = Broker::prepare(shell, options.version)?.start()?;
    let version = node.ctl(&["version"])?;
    println!("RabbitMQ {} is ready", version.trim());
    Ok(())
}

/// Makes a system with the RabbitMQ of a release of Debian. A system that was not finished leaves
/// no folder by this name.
fn make_system(shell: &Shell, root: &PathBuf, release: &str) -> Result<()> {
    ensure!(
        cmd!(shell, "id -u").read()? == "0",
        "cannot prepare RabbitMQ of Debian {release}: a system in a folder needs root"
    );
    println!("RabbitMQ of Debian {release} is made ready in {}", root.display());
    let _quiet = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    if cmd!(shell, "debootstrap --version").quiet().ignore_stdout().run().is_err() {
        cmd!(shell, "timeout {STEP_MAX_S} apt-get update").run()?;
        cmd!(shell, "timeout {STEP_MAX_S} apt-get install --yes debootstrap").run()?;
    }
    // `with_extension` would replace the last digit of the version.
    let mut unfinished = root.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    shell.remove_path(&unfinished)?;
    shell.create_dir(&unfinished)?;
    let packages = ["--variant=minbase", "--include=rabbitmq-server,adduser"];
    // What it mounts is gone when it ends, however it ends.
    let bounded = ["--mount", "--", "timeout", STEP_MAX_S];
    cmd!(shell, "unshare {bounded...} debootstrap {packages...} {release} {unfinished}")
        .ignore_stdout()
        .run()?;
    fs::write(unfinished.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::rename(&unfinished, root).context("cannot name the finished system")
}

/// The longest time for a step of the preparation, in seconds: a mirror that does not answer must
/// not hold up a run.
const STEP_MAX_S: &str = "600";

/// Installs RabbitMQ unless it is installed.
///
/// # Errors
///
/// If the package cannot be installed: the tests of AMQP are not skipped.
fn install_if_missing(shell: &Shell) -> Result<()> {
    if Node::is_installed() { Ok(()) } else { install(shell) }
}

/// Installs Debian's package. The package starts no service where a policy denies it.
///
/// Uses `sudo` without a prompt unless the user is root. A failed update of the package lists fails
/// the installation, too.
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
