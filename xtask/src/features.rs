//! Each set of features compiles: features add items and never depend on one another by accident.

use anyhow::Result;
use xshell::{Shell, cmd};

/// The features of the facade that are not sums of others.
const FEATURES: [&str; 6] = ["amqp", "json", "macros", "msgpack", "zmq", "zmq-engine-zeromq"];

/// Features that concern core alone: each is checked by itself, and all together.
const OF_CORE: [&str; 3] = ["metrics", "testing", "tower"];

/// What must not be in the tree of a feature: a carrier costs only those who asked for it.
const FOREIGN: [(&str, &[&str]); 3] = [
    ("zmq", &["lapin"]),
    ("amqp", &["omq-tokio", "zeromq"]),
    ("json,msgpack,macros", &["lapin", "metrics", "omq-tokio", "tower", "zeromq"]),
];

pub(crate) fn run(shell: &Shell) -> Result<()> {
    for set in 0..1_u32 << FEATURES.len() {
        let features: Vec<_> = (0..FEATURES.len())
            .filter(|bit| set >> bit & 1 == 1)
            .map(|bit| FEATURES[bit])
            .collect();
        let features = features.join(",");
        cmd!(
            shell,
            "cargo check --quiet --locked --package polywire --no-default-features --features {features}"
        )
        .run()?;
    }
    for features in OF_CORE.into_iter().chain(["metrics,testing,tower"]) {
        cmd!(
            shell,
            "cargo check --quiet --locked --package polywire --no-default-features --features {features}"
        )
        .run()?;
    }
    // What is off has to say how to turn it on, which only a build without it can show.
    cmd!(
        shell,
        "cargo test --quiet --locked --package polywire --no-default-features --test connect"
    )
    .run()?;
    for (features, foreign) in FOREIGN {
        let tree = cmd!(shell, "cargo tree --locked --package polywire --edges normal --prefix none --no-default-features --features {features}").read()?;
        for name in foreign {
            let found = tree.lines().find(|line| line.split(' ').next() == Some(name));
            anyhow::ensure!(found.is_none(), "the features {features} bring {name} along");
        }
    }
    println!(
        "all {} sets of features compile, and no carrier brings another",
        (1 << FEATURES.len()) + OF_CORE.len() + 1
    );
    Ok(())
}
