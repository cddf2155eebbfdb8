//! Instructions and allocations of a call over memory, counted by valgrind: the same on a busy
//! machine. The subjects add the router, the context, the macro and the layers one by one.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

const SUBJECTS: [&str; 9] =
    ["bare", "codec", "router", "extract", "context", "macro", "declared", "trace", "onward"];

/// Builds `polywire-overhead`, and prints the costs of each subject as a table.
///
/// # Errors
///
/// If valgrind is not installed.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    cmd!(shell, "cargo build --quiet --locked --release -p polywire-overhead").run()?;
    println!(
        "| subject | instructions | allocations | bytes allocated |\n| --- | --- | --- | --- |"
    );
    for subject in SUBJECTS {
        let [instructions, allocations, bytes] = per_call(shell, subject)?;
        println!("| `{subject}` | {instructions} | {allocations} | {bytes} |");
    }
    Ok(())
}

/// Returns the costs of many calls minus those of few, by call: the start and the end of the
/// program do not count.
fn per_call(shell: &Shell, subject: &str) -> Result<[u64; 3]> {
    let (few, many) = (counted(shell, subject, FEW)?, counted(shell, subject, MANY)?);
    Ok([0, 1, 2].map(|n| many[n].saturating_sub(few[n]) / (MANY - FEW)))
}

const FEW: u64 = 500;
const MANY: u64 = 2_500;

fn counted(shell: &Shell, subject: &str, calls: u64) -> Result<[u64; 3]> {
    let calls = calls.to_string();
    let program = "target/release/polywire-overhead";
    let callgrind = cmd!(
        shell,
        "valgrind --tool=callgrind --callgrind-out-file=/dev/null {program} {subject} {calls}"
    );
    let memcheck = cmd!(shell, "valgrind {program} {subject} {calls}");
    let [callgrind, memcheck] = [callgrind, memcheck].map(|run| run.quiet().read_stderr());
    let memcheck = memcheck?;
    Ok([
        number_after(&callgrind?, "Collected :")?,
        number_after(&memcheck, "total heap usage:")?,
        number_after(&memcheck, "frees,")?,
    ])
}

/// Parses the number after a text, with or without commas in the number.
fn number_after(output: &str, text: &str) -> Result<u64> {
    let (_, rest) = output
        .split_once(text)
        .with_context(|| format!("cannot find {text:?} in the output of valgrind: {output}"))?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(|c| *c != ',')
        .collect();
    Ok(digits.parse()?)
}
