//! Side-by-side measurements with the bare engines.

use anyhow::Result;
use clap::Parser;
use xshell::{Shell, cmd};

/// Options of `cargo xtask bench`.
#[derive(Debug, Parser)]
pub(crate) struct BenchOptions {
    /// Options and subjects of `polywire-bench`, as `--quick` or `--rounds 5 zmq-raw omq-calls`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Builds the benchmark, and runs it. Its figures and its page lie in `target/bench`.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<()> {
    let folder = shell.create_dir("target/bench")?;
    let (json, html) = (folder.join("figures.json"), folder.join("index.html"));
    let run = cmd!(shell, "cargo run --quiet --locked --release -p polywire-bench --");
    run.arg("--json").arg(&json).arg("--html").arg(&html).args(arguments).run()?;
    println!("\nall figures: {}\nplots: {}", json.display(), html.display());
    Ok(())
}
