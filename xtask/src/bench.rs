//! Side-by-side measurements with the bare engines and with other libraries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use xshell::{Shell, cmd};

/// Options of `cargo xtask bench`.
#[derive(Debug, Parser)]
pub(crate) struct BenchOptions {
    /// Measure other libraries in Rust as well: tarpc, tonic, ruststream, and async-nats where
    /// nats-server is there.
    #[arg(long)]
    pub(crate) peers: bool,
    /// Measure nameko and aiozmq as well, from a virtual environment below target/bench.
    #[arg(long)]
    pub(crate) python: bool,
    /// Options and subjects of `polywire-bench`, as `--quick` or `--rounds 5 zmq-raw omq-calls`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// Builds the benchmark, and runs it. Its figures and its page lie in `target/bench`.
///
/// The program for other libraries is built only with `--peers`, and the virtual environment made
/// only with `--python`. Standard output has the tables, and standard error the progress.
///
/// All arguments of the task follow the paths of the results on the command line of the benchmark.
/// The package `bench/peers` is no member of the workspace, and has a lock file of its own.
pub(crate) fn run(shell: &Shell, options: &BenchOptions) -> Result<()> {
    let folder = shell.create_dir("target/bench")?;
    let arguments = &options.arguments;
    let mut programs = Vec::new();
    if options.peers {
        programs.extend(["--peers".into(), build_peers(shell, &folder)?.into_os_string()]);
    }
    if options.python {
        programs.extend(["--python".into(), prepare_python(shell, &folder)?.into_os_string()]);
    }
    let (json, html) = (folder.join("figures.json"), folder.join("index.html"));
    let run = cmd!(shell, "cargo run --quiet --locked --release -p polywire-bench --");
    run.arg("--json").arg(&json).arg("--html").arg(&html).args(programs).args(arguments).run()?;
    println!("\nall figures: {}\nplots: {}", json.display(), html.display());
    Ok(())
}

/// Builds the program for other libraries, and returns its path.
///
/// The target folder is one of its own: its dependencies have other versions and features.
fn build_peers(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    let (target, manifest) = (folder.join("peers"), "bench/peers/Cargo.toml");
    cmd!(
        shell,
        "cargo build --quiet --locked --release --manifest-path {manifest} --target-dir {target}"
    )
    .run()?;
    Ok(target.join("release/polywire-bench-peers"))
}

/// Makes a virtual environment with the libraries in Python, and returns its interpreter.
///
/// An environment of an earlier run is used again; its libraries are compared with the list of
/// versions.
///
/// # Errors
///
/// If `python3` has no module `venv`, or if a library cannot be installed.
fn prepare_python(shell: &Shell, folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("python");
    let (python, requirements) = (environment.join("bin/python"), "bench/python/requirements.txt");
    if !python.exists() {
        let made = cmd!(shell, "python3 -m venv {environment}").run();
        made.context("cannot make a virtual environment; on Debian: apt-get install python3-venv")?;
    }
    cmd!(shell, "{python} -m pip install --quiet --disable-pip-version-check -r {requirements}")
        .run()
        .context("cannot install the libraries of bench/python/requirements.txt")?;
    Ok(python)
}
