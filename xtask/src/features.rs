//! Sets of features: each compiles without warnings, and no feature brings a foreign dependency.

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

/// Features of the facade that are not sums of others.
const FEATURES: [&str; 6] = ["amqp", "json", "macros", "msgpack", "zmq", "zmq-engine-zeromq"];

/// Sets with features that only add to one of those.
const ADDED: [&str; 4] = ["zmq-curve", "app", "app,metrics", "prometheus,amqp,zmq"];

/// Features of core alone: each is checked by itself, and all together.
const FEATURES_OF_CORE: [&str; 4] = ["metrics", "testing", "tower", "metrics,testing,tower"];

/// Published crates without any feature.
const LIBRARIES: [&str; 7] = [
    "polywire-core",
    "polywire-codec",
    "polywire-macros",
    "polywire-zmq",
    "polywire-amqp",
    "polywire-app",
    "polywire-conformance",
];

/// Dependencies that a set of features must not bring along: users pay only for the transports that
/// they select.
const FOREIGN: [(&str, &[&str]); 4] = [
    ("zmq", &["lapin"]),
    ("amqp", &["omq-tokio", "zeromq"]),
    ("json,msgpack,macros", &["hyper", "lapin", "metrics", "omq-tokio", "tower", "zeromq"]),
    ("app", &["lapin", "metrics", "omq-tokio", "zeromq"]),
];

/// Lints each set of features, and checks the dependencies of four of them.
///
/// One build after the other: two side by side, with a folder each, compile the dependencies twice,
/// and took as long.
///
/// # Errors
///
/// If a set has an error or a warning, or brings a foreign dependency along.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let sets = sets();
    lint_libraries(shell)?;
    lint_sets(shell, &sets)?;
    run_quickstart(shell)?;
    check_dependencies(shell)?;
    println!("all {} sets of features compile, and no transport brings another", sets.len());
    Ok(())
}

/// Lints each published crate without any feature.
fn lint_libraries(shell: &Shell) -> Result<()> {
    for package in LIBRARIES {
        let lib = ["--package", package, "--lib", "--no-default-features"];
        cmd!(shell, "cargo clippy --quiet --locked {lib...} -- -D warnings").quiet().run()?;
    }
    Ok(())
}

/// Lints the facade with each of some sets of features.
fn lint_sets(shell: &Shell, sets: &[String]) -> Result<()> {
    for features in sets {
        let lib = ["--package", "polywire", "--lib", "--no-default-features"];
        cmd!(shell, "cargo clippy --quiet --locked {lib...} --features {features} -- -D warnings")
            .quiet()
            .run()?;
    }
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

/// Returns all sets of the facade's features, and those of core.
///
/// Of the facade's six features, each of the 64 sets is there, the empty one included. A set is a
/// list with commas, as `--features` takes it.
fn sets() -> Vec<String> {
    let subset = |set: u32| {
        let chosen = (0..FEATURES.len()).filter(|bit| set >> bit & 1 == 1);
        chosen.map(|bit| FEATURES[bit]).collect::<Vec<_>>().join(",")
    };
    let of_core = FEATURES_OF_CORE.into_iter().map(str::to_owned);
    let added = ADDED.into_iter().map(str::to_owned);
    (0..1_u32 << FEATURES.len()).map(subset).chain(of_core).chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_there_once() {
        let mut sets = sets();
        assert_eq!(sets.len(), 72);
        sets.sort();
        sets.dedup();
        assert_eq!(sets.len(), 72);
        assert!(sets.contains(&String::new()) && sets.contains(&"amqp,zmq".to_owned()));
    }
}
