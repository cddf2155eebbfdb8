//! The conformance matrix: the suite on every backend, side by side, and its copy in
//! docs/conformance.md.
//!
//! The test binaries of the suite write a report of each backend into `target/conformance/reports`,
//! and this task reads the reports. The matrix of the last run stays in `target/conformance` as
//! JSON, Markdown and HTML. Runs on another version of RabbitMQ than the default one have a folder
//! of their own, since the page has the matrix of the default one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use polywire_conformance::{Matrix, Report};
use xshell::{Shell, cmd};

use crate::broker::{Broker, BrokerVersion};

/// The test programs that need no broker.
const ALONE: [&[&str]; 2] = [
    &["--package", "polywire-conformance", "--test", "memory"],
    &["--package", "polywire-zmq", "--all-features", "--test", "conformance"],
];

/// The test program that needs a broker.
const AMQP: &[&str] = &["--package", "polywire-amqp", "--all-features", "--test", "conformance"];

/// Options of `cargo xtask conformance`.
#[derive(Args, Debug)]
pub(crate) struct ConformanceOptions {
    /// Version of RabbitMQ. The page has the matrix of the default one, so --check and --write
    /// take no other.
    #[arg(long, value_enum, default_value_t)]
    broker: BrokerVersion,
    #[command(flatten)]
    action: Action,
}

/// Actions of `cargo xtask conformance` besides printing the matrix.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct Action {
    /// Fail if the matrix in docs/conformance.md is stale.
    #[arg(long)]
    check: bool,
    /// Write the matrix into docs/conformance.md.
    #[arg(long)]
    write: bool,
    /// Write the matrix of the last run into docs/conformance.md.
    #[arg(long)]
    write_last: bool,
    /// Run the suite so many times at once on the backends that need no broker.
    #[arg(long, value_name = "ROUNDS")]
    stress: Option<usize>,
}

impl ConformanceOptions {
    /// Fails if the page is to be compared with or replaced by the matrix of another version.
    fn check_version(&self) -> Result<()> {
        let Action { check, write, .. } = self.action;
        ensure!(
            self.broker == BrokerVersion::default() || !(check || write),
            "cannot compare or write docs/conformance.md, which has the default version of RabbitMQ: \
             leave out --broker"
        );
        Ok(())
    }
}

/// Runs the suite, and prints, checks or writes the matrix.
///
/// With `--check` and `--write`, the suite runs first. A backend that is not conformant ends the
/// task before the page is compared or changed.
///
/// With `--write-last`, nothing runs. The reports are those of the last run on the default version,
/// also of `cargo xtask test`.
///
/// # Errors
///
/// If `--check` or `--write` comes with a version that the page does not have. If the suite fails.
pub(crate) fn run(shell: &Shell, options: &ConformanceOptions) -> Result<()> {
    options.check_version()?;
    let page = shell.current_dir().join("docs/conformance.md");
    match options.action {
        Action { check: true, .. } => check(&page, &measure(shell, options.broker)?),
        Action { write: true, .. } => write(&page, &measure(shell, options.broker)?),
        Action { write_last: true, .. } => write(&page, &last(shell)?),
        Action { stress: Some(rounds), .. } => stress(shell, rounds),
        _ => measure(shell, options.broker).map(drop),
    }
}

/// Runs the suite on every backend, prints the matrix, and keeps it in the folder of the version.
///
/// A test binary that fails does not end the run, so that the matrix shows all backends. The node
/// of the broker ends with the run.
///
/// # Errors
///
/// If a backend has not reported or is not conformant, or if the node cannot be prepared.
fn measure(shell: &Shell, version: BrokerVersion) -> Result<Matrix> {
    let broker = Broker::prepare(shell, version)?;
    let _environment = broker.push_environment(shell);
    let node = broker.start()?;
    let _url = shell.push_env("POLYWIRE_AMQP_URL", node.url());
    let _reports = shell.push_env(REPORTS, fresh_reports(shell, version)?);
    for arguments in ALONE.into_iter().chain([AMQP]) {
        // The report says which case failed.
        cmd!(shell, "cargo test --locked {arguments...}").ignore_status().run()?;
    }
    let folder = folder(shell, version);
    let (matrix, page) = (collect(&folder)?, folder.join("matrix.html"));
    println!("\n{}\nWith times and notes: {}", matrix.to_markdown(), page.display());
    check_conformance(&matrix)?;
    Ok(matrix)
}

/// The environment variable with the folder for reports.
///
/// A test program writes a report for each of its backends when all cases have ended. Without the
/// variable, no report is written.
pub(crate) const REPORTS: &str = "POLYWIRE_CONFORMANCE_REPORTS";

/// Returns the folder for the runs on a version.
fn folder(shell: &Shell, version: BrokerVersion) -> PathBuf {
    let is_default = version == BrokerVersion::default();
    let name = if is_default { "target/conformance" } else { "target/conformance-other" };
    shell.current_dir().join(name)
}

/// Creates an empty folder for reports: the reports of another run would count for this run.
///
/// Removes the folder of the version with the matrix of the run before.
pub(crate) fn fresh_reports(shell: &Shell, version: BrokerVersion) -> Result<PathBuf> {
    let folder = folder(shell, version);
    shell.remove_path(&folder)?;
    Ok(shell.create_dir(folder.join("reports"))?)
}

/// Fails unless every backend has reported that it is conformant, and docs/conformance.md is up to
/// date.
pub(crate) fn check_reports(shell: &Shell) -> Result<()> {
    check(&shell.current_dir().join("docs/conformance.md"), &last(shell)?)
}

/// Collects the matrix from the reports of the last run on the default version, of this task or of
/// the tests.
fn last(shell: &Shell) -> Result<Matrix> {
    let matrix = collect(&folder(shell, BrokerVersion::default()))?;
    check_conformance(&matrix)?;
    Ok(matrix)
}

/// Reads the reports of the known backends, in the order of the matrix, and keeps the matrix.
/// Conformance is not checked here.
fn collect(folder: &Path) -> Result<Matrix> {
    let reports = Matrix::read(folder.join("reports"))?.reports().to_vec();
    // The example backends report, too.
    let place = |report: &Report| BACKENDS.iter().position(|name| *name == report.backend);
    let mut ours: Vec<_> = reports.into_iter().filter(|report| place(report).is_some()).collect();
    ours.sort_by_key(place);
    let matrix = Matrix::new(ours);
    keep(folder, &matrix)?;
    Ok(matrix)
}

/// Writes the matrix in each of its forms into `folder`, in place of older files.
fn keep(folder: &Path, matrix: &Matrix) -> Result<()> {
    fs::write(folder.join("matrix.json"), matrix.to_json()?)?;
    fs::write(folder.join("matrix.md"), matrix.to_markdown())?;
    fs::write(folder.join("matrix.html"), matrix.to_html())?;
    Ok(())
}

/// Fails unless all backends have reported, and are conformant.
fn check_conformance(matrix: &Matrix) -> Result<()> {
    let names: Vec<_> = matrix.reports().iter().map(|report| report.backend.as_str()).collect();
    ensure!(names == BACKENDS, "the reports are of {names:?}, expected {BACKENDS:?}");
    let lax = matrix.reports().iter().find(|report| !report.is_conformant());
    ensure!(
        lax.is_none(),
        "{} is not conformant",
        lax.map_or_else(String::new, |report| report.backend.clone())
    );
    Ok(())
}

/// The backends in the order of the matrix.
///
/// Each of them must report. Reports of other backends, such as those of examples, are left out.
const BACKENDS: [&str; 5] = ["memory", "zmq-omq", "zmq-zeromq", "amqp", "amqp-quorum"];

/// Fails unless the page shows this matrix. White space around the matrix does not count.
fn check(page: &Path, matrix: &Matrix) -> Result<()> {
    let text = fs::read_to_string(page)?;
    let shown = &text[matrix_range(&text)?];
    ensure!(
        shown.trim() == matrix.to_markdown().trim(),
        "the conformance matrix in docs/conformance.md is stale: run cargo xtask conformance --write"
    );
    println!("the conformance matrix in docs/conformance.md is up to date");
    Ok(())
}

/// Replaces the matrix in the page, and leaves the rest of the page as it is.
fn write(page: &Path, matrix: &Matrix) -> Result<()> {
    let mut text = fs::read_to_string(page)?;
    text.replace_range(matrix_range(&text)?, &format!("\n{}", matrix.to_markdown()));
    fs::write(page, text)?;
    println!("the conformance matrix in docs/conformance.md is written");
    Ok(())
}

/// Finds the matrix in the page.
///
/// The range lies between two HTML comments, which are not part of the range.
fn matrix_range(text: &str) -> Result<std::ops::Range<usize>> {
    const START: &str = "<!-- conformance -->\n";
    const END: &str = "<!-- /conformance -->";
    let start =
        text.find(START).context("docs/conformance.md has no <!-- conformance -->")? + START.len();
    let end = text.find(END).context("docs/conformance.md has no <!-- /conformance -->")?;
    ensure!(start <= end, "in docs/conformance.md, <!-- /conformance --> comes first");
    Ok(start..end)
}

/// Runs the suite many times at once on the backends that need no broker.
///
/// Each backend runs `rounds` suites on one runtime. The first test program that fails ends the
/// task.
///
/// A number of 0 is an error of the test program, since no case would run.
fn stress(shell: &Shell, rounds: usize) -> Result<()> {
    let _rounds = shell.push_env("POLYWIRE_CONFORMANCE_STRESS", rounds.to_string());
    for arguments in ALONE {
        cmd!(shell, "cargo test --locked {arguments...}").run()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn page_is_for_the_default_version_alone() {
        let options = |broker, check, write| {
            let action = Action { check, write, write_last: false, stress: None };
            ConformanceOptions { broker, action }
        };
        let (default, other) = (BrokerVersion::default(), BrokerVersion::V4_3);
        options(default, true, false).check_version().unwrap();
        options(other, false, false).check_version().unwrap();
        options(other, true, false).check_version().unwrap_err();
        options(other, false, true).check_version().unwrap_err();
    }

    #[test]
    fn page_is_stale_until_it_is_written() {
        let folder = TemporaryFolder::create("page").unwrap();
        let page = folder.path().join("conformance.md");
        fs::write(&page, "before\n<!-- conformance -->\nold\n<!-- /conformance -->\nafter\n")
            .unwrap();
        let matrix = Matrix::new(Vec::new());
        let stale = check(&page, &matrix).unwrap_err();
        write(&page, &matrix).unwrap();
        let text = fs::read_to_string(&page).unwrap();
        let fresh = check(&page, &matrix);
        assert!(stale.to_string().contains("run cargo xtask conformance --write"), "{stale}");
        assert!(
            text.starts_with("before\n") && text.ends_with("<!-- /conformance -->\nafter\n"),
            "{text}"
        );
        fresh.unwrap();
    }
}
