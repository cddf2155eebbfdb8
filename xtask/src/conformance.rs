//! The conformance matrix: the suite on every backend, side by side, and the README that shows it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use polywire_conformance::{Matrix, Report};
use xshell::{Shell, cmd};

use crate::broker;

/// The test binaries that need nothing beside them.
const ALONE: [&[&str]; 2] = [
    &["--package", "polywire-conformance", "--test", "memory"],
    &["--package", "polywire-zmq", "--all-features", "--test", "conformance"],
];

/// The one that needs a broker.
const AMQP: &[&str] = &["--package", "polywire-amqp", "--all-features", "--test", "conformance"];

pub(crate) fn run(shell: &Shell, arguments: &[&str]) -> Result<()> {
    let readme = shell.current_dir().join("README.md");
    match arguments {
        [] => measure(shell).map(drop),
        ["--check"] => check(&readme, &measure(shell)?),
        ["--write"] => write(&readme, &measure(shell)?),
        ["--write-last"] => write(&readme, &last(shell)?),
        ["--stress", rounds] => stress(shell, rounds),
        _ => bail!(
            "usage: cargo xtask conformance [--check | --write | --write-last | --stress ROUNDS]"
        ),
    }
}

/// Runs the suite on every backend, prints the matrix, and leaves it in `target/conformance`.
fn measure(shell: &Shell) -> Result<Matrix> {
    let node = broker::start(shell)?;
    let _url = shell.push_env("POLYWIRE_AMQP_URL", node.url());
    let _reports = shell.push_env(REPORTS, fresh_reports(shell)?);
    for arguments in ALONE.into_iter().chain([AMQP]) {
        // What failed is in the report, and said below.
        cmd!(shell, "cargo test --locked {arguments...}").ignore_status().run()?;
    }
    let matrix = collect(shell)?;
    println!(
        "\n{}\nWith times, sentences and notes: target/conformance/matrix.html",
        matrix.to_markdown()
    );
    judge(&matrix)?;
    Ok(matrix)
}

/// The variable that tells test binaries where to leave their reports.
pub(crate) const REPORTS: &str = "POLYWIRE_CONFORMANCE_REPORTS";

/// A folder for reports without any in it: what another run left there would count as of this one.
pub(crate) fn fresh_reports(shell: &Shell) -> Result<PathBuf> {
    let folder = shell.current_dir().join("target/conformance");
    shell.remove_path(&folder)?;
    Ok(shell.create_dir(folder.join("reports"))?)
}

/// Fails unless the reports that were left say that every backend is conformant, and the README
/// says the same.
pub(crate) fn check_reports(shell: &Shell) -> Result<()> {
    check(&shell.current_dir().join("README.md"), &last(shell)?)
}

/// What the last run left, which need not have been one for the matrix' sake.
fn last(shell: &Shell) -> Result<Matrix> {
    let matrix = collect(shell)?;
    judge(&matrix)?;
    Ok(matrix)
}

fn collect(shell: &Shell) -> Result<Matrix> {
    let folder = shell.current_dir().join("target/conformance");
    let reports = Matrix::read(folder.join("reports"))?.reports().to_vec();
    // The examples among the tests report, too.
    let place = |report: &Report| BACKENDS.iter().position(|name| *name == report.backend);
    let mut ours: Vec<_> = reports.into_iter().filter(|report| place(report).is_some()).collect();
    ours.sort_by_key(place);
    let matrix = Matrix::new(ours);
    keep(&folder, &matrix)?;
    Ok(matrix)
}

fn keep(folder: &Path, matrix: &Matrix) -> Result<()> {
    fs::write(folder.join("matrix.json"), matrix.to_json()?)?;
    fs::write(folder.join("matrix.md"), matrix.to_markdown())?;
    fs::write(folder.join("matrix.html"), matrix.to_html())?;
    Ok(())
}

/// Fails unless all backends have reported, and are conformant.
fn judge(matrix: &Matrix) -> Result<()> {
    let names: Vec<_> = matrix.reports().iter().map(|report| report.backend.as_str()).collect();
    ensure!(
        names == BACKENDS,
        "the backends that have reported are {names:?}, and should be {BACKENDS:?}"
    );
    let lax = matrix.reports().iter().find(|report| !report.is_conformant());
    ensure!(
        lax.is_none(),
        "{} is not conformant",
        lax.map_or_else(String::new, |report| report.backend.clone())
    );
    Ok(())
}

/// In the order of the matrix.
const BACKENDS: [&str; 5] = ["memory", "zmq-omq", "zmq-zeromq", "amqp", "amqp-quorum"];

fn check(readme: &Path, matrix: &Matrix) -> Result<()> {
    let text = fs::read_to_string(readme)?;
    let shown = &text[shown(&text)?];
    ensure!(
        shown.trim() == matrix.to_markdown().trim(),
        "the conformance matrix in README.md is stale: cargo xtask conformance --write brings it up to date"
    );
    println!("the conformance matrix in README.md is up to date");
    Ok(())
}

fn write(readme: &Path, matrix: &Matrix) -> Result<()> {
    let mut text = fs::read_to_string(readme)?;
    text.replace_range(shown(&text)?, &format!("\n{}", matrix.to_markdown()));
    fs::write(readme, text)?;
    println!("the conformance matrix in README.md is up to date now");
    Ok(())
}

/// Where the matrix is in the README.
fn shown(text: &str) -> Result<std::ops::Range<usize>> {
    const START: &str = "<!-- conformance -->\n";
    const END: &str = "<!-- /conformance -->";
    let start = text.find(START).context("README.md has no <!-- conformance -->")? + START.len();
    let end = text.find(END).context("README.md has no <!-- /conformance -->")?;
    ensure!(start <= end, "in README.md, <!-- /conformance --> comes first");
    Ok(start..end)
}

/// Runs the suite many times at once on what needs no broker.
fn stress(shell: &Shell, rounds: &str) -> Result<()> {
    let _rounds =
        shell.push_env("POLYWIRE_CONFORMANCE_STRESS", rounds.parse::<usize>()?.to_string());
    for arguments in ALONE {
        cmd!(shell, "cargo test --locked {arguments...}").run()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_readme_is_stale_until_it_is_written() {
        let readme = std::env::temp_dir().join(format!("polywire-readme-{}", std::process::id()));
        fs::write(&readme, "before\n<!-- conformance -->\nold\n<!-- /conformance -->\nafter\n")
            .unwrap();
        let matrix = Matrix::new(Vec::new());
        let stale = check(&readme, &matrix).unwrap_err();
        write(&readme, &matrix).unwrap();
        let text = fs::read_to_string(&readme).unwrap();
        let fresh = check(&readme, &matrix);
        fs::remove_file(&readme).unwrap();
        assert!(stale.to_string().contains("--write brings it up to date"), "{stale}");
        assert!(
            text.starts_with("before\n") && text.ends_with("<!-- /conformance -->\nafter\n"),
            "{text}"
        );
        fresh.unwrap();
    }
}
