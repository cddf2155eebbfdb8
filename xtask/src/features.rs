//! Sets of features: each compiles without warnings, and no feature brings a foreign dependency.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow, ensure};
use xshell::{Shell, cmd};

/// Features of the facade that are not sums of others.
const FEATURES: [&str; 6] = ["amqp", "json", "macros", "msgpack", "zmq", "zmq-engine-zeromq"];

/// Sets with features that only add to one of those.
const ADDED: [&str; 6] =
    ["amqprpc", "nameko", "zmq-curve", "app", "app,metrics", "prometheus,amqp,zmq"];

/// Published libraries with the sets of features that are checked without any other package.
///
/// Each is compiled with the third-party features of its own manifest alone, as a user has it.
const ALONE: [(&str, &[&str]); 8] = [
    ("polywire-core", &["", "metrics", "testing", "tower", "metrics,testing,tower"]),
    ("polywire-codec", &["", "json", "msgpack"]),
    ("polywire-macros", &[""]),
    ("polywire-zmq", &["", "engine-zeromq", "curve"]),
    ("polywire-amqp", &["", "metrics,tls"]),
    ("polywire-dialects", &["", "amqprpc", "nameko"]),
    ("polywire-app", &["", "prometheus"]),
    ("polywire-conformance", &[""]),
];

/// Dependencies that a set of features must not bring along: users pay only for the transports that
/// they select.
const FOREIGN: [(&str, &[&str]); 6] = [
    ("zmq", &["lapin"]),
    ("amqp", &["omq-tokio", "zeromq"]),
    ("amqprpc", &["omq-tokio", "zeromq"]),
    ("nameko", &["omq-tokio", "zeromq"]),
    ("json,msgpack,macros", &["hyper", "lapin", "metrics", "omq-tokio", "tower", "zeromq"]),
    ("app", &["lapin", "metrics", "omq-tokio", "zeromq"]),
];

/// Lints each set of features, runs the quickstart, and checks the dependencies of six sets.
///
/// Cargo compiles a crate once per set of its features, and so everything above it. The sets of the
/// facade, which calls no third-party crate but serde, are therefore linted beside
/// `polywire-unified`, which gives all of them the third-party crates of the whole workspace.
///
/// The parts alone share nothing with those. They are linted at the same time, in a target
/// directory of their own, since a build waits for another one in its directory.
///
/// # Errors
///
/// If a set has an error or a warning, or brings a foreign dependency along.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let folder = shell.current_dir();
    let (alone, facade) = thread::scope(|scope| {
        let alone = scope.spawn(|| lint_parts_alone(&shell_in(&folder)?));
        let facade = scope.spawn(|| lint_facade(&shell_in(&folder)?));
        (alone.join(), facade.join())
    });
    for lane in [alone, facade] {
        lane.map_err(|_| anyhow!("a lane of checks panicked"))??;
    }
    check_dependencies(shell)?;
    let alone: usize = ALONE.iter().map(|(_, sets)| sets.len()).sum();
    println!(
        "{} sets of the facade's features and {alone} of its parts alone compile, and no transport \
         brings another",
        sets().len()
    );
    Ok(())
}

/// Returns a shell for another thread.
fn shell_in(folder: &Path) -> Result<Shell> {
    let shell = Shell::new()?;
    shell.change_dir(folder);
    Ok(shell)
}

/// Lints each published library without any other package, in the folder `target/features`.
fn lint_parts_alone(shell: &Shell) -> Result<()> {
    let _own = shell.push_env("CARGO_TARGET_DIR", shell.current_dir().join("target/features"));
    for (package, sets) in ALONE {
        sets.iter().try_for_each(|features| lint(shell, &["--package", package], features))?;
    }
    Ok(())
}

/// Lints the sets of the facade's features, and runs the programs of a user.
fn lint_facade(shell: &Shell) -> Result<()> {
    for features in sets() {
        lint(shell, &["--package", "polywire", "--package", "polywire-unified"], &features)?;
    }
    run_quickstart(shell)
}

/// Lints the libraries of some packages with a set of features, a list with commas.
fn lint(shell: &Shell, packages: &[&str], features: &str) -> Result<()> {
    let lib = ["--lib", "--no-default-features", "--features", features];
    cmd!(shell, "cargo clippy --quiet --locked {packages...} {lib...} -- -D warnings")
        .quiet()
        .run()?;
    Ok(())
}

/// Runs the program that a user runs first, with the features of a user, and the tests of
/// `connect` that exist only where features are off.
fn run_quickstart(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo run --quiet --locked --example quickstart").run()?;
    for features in [&[][..], &["--no-default-features"]] {
        cmd!(shell, "cargo test --quiet --locked --test connect {features...}").run()?;
    }
    Ok(())
}

/// Checks that no set of features brings a foreign dependency along.
fn check_dependencies(shell: &Shell) -> Result<()> {
    for (features, foreign) in FOREIGN {
        let normal = ["--edges", "normal", "--prefix", "none", "--no-default-features"];
        let tree =
            cmd!(shell, "cargo tree --locked --package polywire {normal...} --features {features}");
        let tree = tree.read()?;
        for name in foreign {
            let found = tree.lines().find(|line| line.split(' ').next() == Some(name));
            ensure!(found.is_none(), "the features {features} bring {name} along");
        }
    }
    Ok(())
}

/// Returns the different sets of the facade's features.
///
/// `zmq-engine-zeromq` selects `zmq`: sets with the first and without the second are left out,
/// since each is equal to one that has both. The empty set is there. A set is a list with commas.
fn sets() -> Vec<String> {
    let subset = |set: u32| {
        let chosen = (0..FEATURES.len()).filter(|bit| set >> bit & 1 == 1);
        chosen.map(|bit| FEATURES[bit]).collect::<Vec<_>>()
    };
    let is_whole = |set: &Vec<&str>| !set.contains(&"zmq-engine-zeromq") || set.contains(&"zmq");
    let subsets = (0..1_u32 << FEATURES.len()).map(subset).filter(is_whole);
    subsets.map(|set| set.join(",")).chain(ADDED.into_iter().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_there_once() {
        let mut sets = sets();
        assert_eq!(sets.len(), 54);
        sets.sort();
        sets.dedup();
        assert_eq!(sets.len(), 54);
        assert!(sets.contains(&String::new()) && sets.contains(&"amqp,zmq".to_owned()));
        assert!(sets.contains(&FEATURES.join(",")));
    }
}
