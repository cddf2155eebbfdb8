//! Side-by-side measurements with the bare engines.

use anyhow::Result;
use clap::Parser;
use xshell::{Shell, cmd};

/// Options of `cargo xtask bench`.
#[derive(Debug, Parser)]
pub(crate) struct BenchOptions {
    /// Measure other libraries as well: tarpc, tonic, and async-nats where nats-server is there.
    #[arg(long)]
    pub(crate) peers: bool,
    /// Options and subjects of `polywire-bench`, as `--quick` or `--rounds 5 zmq-raw omq-calls`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Builds the benchmark, and runs it. Its figures and its page lie in `target/bench`.
///
/// The program for other libraries is built only with `--peers`. Standard output has the table, and
/// standard error a line for each measurement.
pub(crate) fn run(shell: &Shell, options: &BenchOptions) -> Result<()> {
    let folder = shell.create_dir("target/bench")?;
    let arguments = &options.arguments;
    let mut peers = Vec::new();
    if options.peers {
        // A target folder of its own, whose dependencies have other versions and features.
        let target = folder.join("peers");
        let manifest = "bench/peers/Cargo.toml";
        cmd!(shell, "cargo build --quiet --locked --release --manifest-path {manifest} --target-dir {target}").run()?;
        peers =
            vec!["--peers".into(), target.join("release/polywire-bench-peers").into_os_string()];
    }
    let (json, html) = (folder.join("figures.json"), folder.join("index.html"));
    let run = cmd!(shell, "cargo run --quiet --locked --release -p polywire-bench --");
    run.arg("--json").arg(&json).arg("--html").arg(&html).args(peers).args(arguments).run()?;
    println!("\nall figures: {}\nplots: {}", json.display(), html.display());
    Ok(())
}
