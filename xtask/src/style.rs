//! Checks of style: plain English, short files, no import cycles, sorted manifests, and a list of
//! the public surface that is up to date.

mod cycles;
mod finding;
mod manifests;
mod prose;
mod sizes;

use anyhow::{Result, bail};
use xshell::Shell;

pub(crate) use self::finding::Check;
use crate::{public_api, source};

/// Runs all checks, and fails if one of them does.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let files = source::source_files(shell)?;
    let root = shell.current_dir();
    let checks = [
        prose::openers(&files),
        prose::banned_words(&files),
        sizes::wide_comments(&files),
        sizes::long_files(&files),
        cycles::check(&root, &files)?,
        manifests::check(shell)?,
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
