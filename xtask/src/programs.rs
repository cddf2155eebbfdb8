//! Programs that cargo has built: test programs and examples.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Shell, cmd};

/// A program in the target directory.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The folder of its package below the workspace, or `polywire` for the root, then the target:
    /// `transport-zmq/conformance`. Unit tests of a library are `core/units`.
    ///
    /// Unit tests of a binary have the name of the binary, too: `faults/polywire-faults units`.
    pub(crate) name: String,
    /// The root of its package.
    pub(crate) folder: PathBuf,
    /// The executable.
    pub(crate) path: PathBuf,
    /// True for a program that runs tests.
    pub(crate) is_test: bool,
}

/// The one selection of packages and features that all tasks build, so that cargo builds each
/// dependency once.
pub(crate) const EVERYTHING: [&str; 3] = ["--locked", "--workspace", "--all-features"];

/// Builds all test programs, and the examples with them.
///
/// An example among the programs has `is_test` unset.
pub(crate) fn build_tests(shell: &Shell) -> Result<Vec<Program>> {
    build(shell, &["test", "--no-run"])
}

/// Builds all examples.
pub(crate) fn build_examples(shell: &Shell) -> Result<Vec<Program>> {
    build(shell, &["build", "--examples"])
}

/// Runs cargo, and returns the programs that cargo names in its messages, those that were fresh
/// included. Warnings and errors of the compiler go to standard error.
///
/// # Errors
///
/// If the build fails, or if a line of cargo's standard output is no JSON.
fn build(shell: &Shell, command: &[&str]) -> Result<Vec<Program>> {
    let format = "--message-format=json-render-diagnostics";
    let messages = cmd!(shell, "cargo {command...} {EVERYTHING...} {format}").read()?;
    let workspace = shell.current_dir().canonicalize()?;
    let mut programs = Vec::new();
    for message in messages.lines() {
        let message: Value =
            serde_json::from_str(message).context("cannot parse cargo's output")?;
        if let Some(path) = message["executable"].as_str() {
            programs.push(program(&message, path, &workspace)?);
        }
    }
    Ok(programs)
}

/// Reads a `compiler-artifact` message of cargo, whose executable is at `path`.
///
/// The first kind of the target decides on the name: tests and examples have names of their own.
fn program(message: &Value, path: &str, workspace: &std::path::Path) -> Result<Program> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).context("a name in cargo's output");
    let manifest = PathBuf::from(text(&message["manifest_path"])?);
    let folder = manifest.parent().context("the folder of a manifest")?.to_owned();
    let below = folder.strip_prefix(workspace).unwrap_or(&folder).display().to_string();
    let package = if below.is_empty() { "polywire".to_owned() } else { below };
    let target = match message["target"]["kind"][0].as_str() {
        Some("test" | "example") => text(&message["target"]["name"])?,
        Some("bin") => format!("{} units", text(&message["target"]["name"])?),
        _ => "units".to_owned(),
    };
    let is_test = message["profile"]["test"].as_bool().unwrap_or_default();
    Ok(Program { name: format!("{package}/{target}"), folder, path: path.into(), is_test })
}
