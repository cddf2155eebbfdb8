//! RabbitMQ for tests: versions to choose from, their preparation, and a private node.
//!
//! 3.10 is Debian 12's package on this machine. The others are packages of later releases, each in
//! a system of its own below `target/brokers`, which `debootstrap` makes.
//!
//! Programs that start nodes themselves find the chosen system by the variable
//! `POLYWIRE_RABBITMQ_ROOT`.

use std::ffi::{OsStr, OsString};
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
    ///
    /// The release `sid` changes over time: a system that is prepared later may have a newer
    /// RabbitMQ than its name says. [`Broker::start`] then fails.
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
    /// The first two parts of the version, such as `4.3`.
    name: &'static str,
}

/// The version that docs/conformance.md and most figures are of.
const MACHINE: &str = "3.10";

impl Broker {
    /// Prepares a version, unless that was done before.
    ///
    /// The version of the machine is installed by `apt-get` if it is missing. Another version is
    /// unpacked below `target/brokers`, which needs root and takes minutes; later calls find the
    /// folder. A folder that exists counts as ready, and its content is not checked.
    ///
    /// # Errors
    ///
    /// If its packages cannot be installed: the tests of AMQP are not skipped. For the version of
    /// the machine also if the caller's environment selects another system.
    pub(crate) fn prepare(shell: &Shell, version: BrokerVersion) -> Result<Self> {
        let Some((name, release)) = version.release() else {
            check_unselected(std::env::var_os(ROOT).as_deref())?;
            install_if_missing(shell)?;
            return Ok(Self { root: None, name: MACHINE });
        };
        let root = shell.current_dir().join("target/brokers").join(name);
        if !root.exists() {
            make_system(shell, &root, release)?;
        }
        Ok(Self { root: Some(root.canonicalize()?), name })
    }

    /// Starts a node on free ports.
    ///
    /// Returns when the node answers, usually after about four seconds. Dropping the node ends it
    /// and removes its data. The version of the machine may be any: a line says so if it is not the
    /// one that the documentation is of.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed, or if the node ends or does not answer within three minutes.
    /// The error has the last lines of the node's log. If a prepared system has another version
    /// than its name says.
    pub(crate) fn start(&self) -> Result<Node> {
        let setup = self.root.iter().fold(Setup::new(), Setup::root);
        let node = setup.start().context("cannot start the private RabbitMQ node")?;
        let stated = node.ctl(&["version"])?;
        match (is_version(self.name, stated.trim()), &self.root) {
            (true, _) => {}
            (false, None) => {
                println!(
                    "RabbitMQ {} of this machine is used in place of {MACHINE}",
                    stated.trim()
                );
            }
            (false, Some(root)) => bail!(
                "cannot use RabbitMQ {}: the system in {} has {}; its release of Debian has moved on, name another one in xtask/src/broker.rs",
                self.name,
                root.display(),
                stated.trim()
            ),
        }
        Ok(node)
    }

    /// Returns the environment for programs that start nodes of this version: empty for the version
    /// that is installed on the machine.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let (name, root) = self.selection();
        root.map(|root| (name, root)).into_iter().collect()
    }

    /// Returns the variable that selects this version, and its value. `None` says that the variable
    /// must not be set: the version of the machine is used without it.
    pub(crate) fn selection(&self) -> (OsString, Option<OsString>) {
        (ROOT.into(), self.root.clone().map(OsString::from))
    }

    /// Sets the environment for the programs of a shell, while the result lives.
    ///
    /// Each guard of the result restores its variable when dropped. Commands that a task starts
    /// without the shell do not get these variables.
    pub(crate) fn push_environment<'s>(&self, shell: &'s Shell) -> Vec<PushEnv<'s>> {
        self.environment().into_iter().map(|(name, value)| shell.push_env(name, value)).collect()
    }
}

/// Prepares a version, starts a node of it, and prints what it is.
///
/// The start proves that the version works on this machine. The node ends with the task.
pub(crate) fn run(shell: &Shell, options: &BrokerOptions) -> Result<()> {
    let node = Broker::prepare(shell, options.version)?.start()?;
    let version = node.ctl(&["version"])?;
    println!("RabbitMQ {} is ready", version.trim());
    Ok(())
}

/// Makes a system with the RabbitMQ of a release of Debian. A system that was not finished leaves
/// no folder by this name.
///
/// The packages come from the default mirror of `debootstrap`, and each step with the network has
/// ten minutes. The folder gets its name last, so an interrupted preparation starts again from an
/// empty folder.
///
/// Two tasks must not prepare one version at the same time: each would remove the unfinished folder
/// of the other.
///
/// # Errors
///
/// If the user is not root, or if a step fails or outlasts its limit.
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

/// Returns true if a stated version such as `4.3.6` is one of a name such as `4.3`.
fn is_version(name: &str, stated: &str) -> bool {
    let rest = stated.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '~']))
}

/// Fails if the environment selects a system, which all nodes would take for the machine's.
fn check_unselected(root: Option<&OsStr>) -> Result<()> {
    ensure!(
        root.is_none(),
        "cannot use the RabbitMQ of this machine: {ROOT} selects another one, unset it or choose \
         a version with --broker"
    );
    Ok(())
}

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
/// the installation, too. Each step has ten minutes.
fn install(shell: &Shell) -> Result<()> {
    println!("rabbitmq-server is missing: installing Debian's package");
    let _quiet = shell.push_env("DEBIAN_FRONTEND", "noninteractive");
    let root = cmd!(shell, "id -u").read()? == "0";
    // A user cannot signal a program of root, so `timeout` is below `sudo`.
    let (program, words): (_, &[_]) = match root {
        true => ("timeout", &[STEP_MAX_S, "apt-get"]),
        false => ("sudo", &["--non-interactive", "timeout", STEP_MAX_S, "apt-get"]),
    };
    let update = cmd!(shell, "{program} {words...} update").run();
    let installed = cmd!(shell, "{program} {words...} install --yes rabbitmq-server").run();
    if update.and(installed).is_err() {
        bail!(
            "cannot install rabbitmq-server, which the tests of AMQP need: install it by hand (on Debian: apt-get install rabbitmq-server) and run the task again"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_compared_by_its_parts() {
        for stated in ["4.3", "4.3.6", "4.3.0-rc.1"] {
            assert!(is_version("4.3", stated), "{stated}");
        }
        for stated in ["4.30.1", "4.4.0", "14.3.1", ""] {
            assert!(!is_version("4.3", stated), "{stated}");
        }
    }

    #[test]
    fn version_of_the_machine_is_used_without_a_selection() {
        let [machine, other] =
            [None, Some(PathBuf::from("/brokers/4.3"))].map(|root| Broker { root, name: MACHINE });
        let (variable, root) = (OsString::from(ROOT), OsString::from("/brokers/4.3"));
        assert_eq!(machine.selection(), (variable.clone(), None));
        assert!(machine.environment().is_empty());
        assert_eq!(other.selection(), (variable.clone(), Some(root.clone())));
        assert_eq!(other.environment(), [(variable, root)]);
    }

    #[test]
    fn system_of_the_environment_is_not_taken_for_the_machine() {
        check_unselected(None).unwrap();
        let error = check_unselected(Some(OsStr::new("/another"))).unwrap_err().to_string();
        assert!(error.contains(ROOT), "{error}");
    }
}
