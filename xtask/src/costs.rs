//! Instructions and allocations of a call over memory, counted by valgrind: the same on a busy
//! machine. The subjects add the router, the context, the macro and the layers one by one.
//!
//! Counts differ a little between builds, so a small growth is allowed. Those of another compiler
//! are compared only in part.

mod counted;
mod recorded;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use xshell::{Shell, cmd};

use self::counted::count_all;
use self::recorded::Recorded;

/// The subjects of `polywire-overhead`, in the order of the table.
const SUBJECTS: [&str; 12] = [
    "encode", "decode", "dispatch", "bare", "codec", "router", "extract", "context", "macro",
    "declared", "trace", "onward",
];

/// The figures that a change must not exceed.
///
/// JSON with the compiler that built the program, and with three figures for each subject.
const FILE: &str = "bench/costs.json";

/// Options of `cargo xtask costs`.
#[derive(Debug, Parser)]
pub(crate) struct CostsOptions {
    /// Fails if a figure is more than 3 % above that of bench/costs.json.
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Writes bench/costs.json anew.
    #[arg(long)]
    write: bool,
    /// Subjects by name; all if there are none.
    #[arg(value_name = "SUBJECT", conflicts_with = "write")]
    subjects: Vec<String>,
}

/// Builds `polywire-overhead`, and prints the costs of each subject as a table.
///
/// An unknown subject is an error before anything is built. Nothing is compared without `--check`.
///
/// `--check` compares the chosen subjects alone. `--write` always counts and records all subjects.
///
/// # Errors
///
/// If valgrind is not installed, or `--check` finds a figure that has grown.
pub(crate) fn run(shell: &Shell, options: &CostsOptions) -> Result<()> {
    let chosen = options.subjects.iter().map(String::as_str);
    let subjects: Vec<&str> =
        if options.subjects.is_empty() { SUBJECTS.to_vec() } else { chosen.collect() };
    let is_known = subjects.iter().all(|subject| SUBJECTS.contains(subject));
    ensure!(is_known, "subjects: {}", SUBJECTS.join(", "));
    cmd!(shell, "valgrind --version")
        .quiet()
        .ignore_stderr()
        .read()
        .context("cannot count: valgrind is not installed (Debian: apt-get install valgrind)")?;
    // Core never takes a call for slow in such a build: under valgrind, each call is.
    let _counted = shell.push_env("POLYWIRE_COUNTED", "1");
    cmd!(shell, "cargo build --quiet --locked --release -p polywire-overhead").run()?;
    let program = shell.current_dir().join("target/release/polywire-overhead");
    let costs = count_all(&program, &subjects)?;
    println!(
        "| subject | instructions | allocations | bytes allocated |\n| --- | --- | --- | --- |"
    );
    for (subject, cost) in &costs {
        println!("| `{subject}` | {} | {} | {} |", cost.instructions, cost.allocations, cost.bytes);
    }
    let compiler = cmd!(shell, "rustc --version").quiet().read()?;
    if options.write {
        shell.write_file(FILE, Recorded::new(compiler, costs).to_text()?)?;
    } else if options.check {
        let grown = Recorded::parse(&shell.read_file(FILE)?)?.grown(&compiler, &costs);
        let remedy =
            "if that has a reason, name it in the commit, and run: cargo xtask costs --write";
        ensure!(
            grown.is_empty(),
            "calls cost more than in {FILE}:\n{}\n{remedy}",
            grown.join("\n")
        );
        println!("ok: no figure is above that of {FILE}");
    }
    Ok(())
}
