//! Checks of style: plain English, short files, no import cycles, names of types, sorted manifests,
//! and a list of the public surface that is up to date.
//!
//! The rules are those of `CONTRIBUTING.md`. A check has a name, a summary and its findings; each
//! module has the checks of one kind.

mod banned_words;
mod cycles;
mod finding;
mod literals;
mod manifests;
mod markdown;
mod prose;
mod sizes;
mod type_names;

use anyhow::{Result, bail};
use xshell::Shell;

pub(crate) use self::finding::Check;
use crate::{public_api, source};

/// Runs all checks, and fails if one of them does.
///
/// Each check runs even if another one fails, and all outcomes are printed together in the end. The
/// checks read the files of the working tree, so changes that are not committed count.
///
/// # Errors
///
/// The names of the failed checks. A file that cannot be read or parsed ends the task before
/// anything is printed.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let files = source::source_files(shell, "*.rs")?;
    let manifests = source::source_files(shell, "*Cargo.toml")?;
    let pages = source::source_files(shell, "*.md")?;
    let root = shell.current_dir();
    let checks = [
        prose::openers(&files),
        prose::banned_words(&files),
        markdown::check(&pages),
        literals::check(&root, &files)?,
        sizes::wide_comments(&files),
        sizes::wide_pages(&pages),
        sizes::long_files(&files),
        cycles::check(&root, &files)?,
        type_names::check(&root)?,
        manifests::check(&manifests),
        public_api::check(shell)?,
    ];
    for check in &checks {
        println!("{check}");
    }
    let failed: Vec<_> =
        checks.iter().filter(|check| check.has_failed()).map(Check::name).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("the style is not as agreed: {}", failed.join(", "))
}
