//! The public surface of the published crates as a sorted list, kept in `docs/public-api.txt`.
//!
//! A change of the list is a change for users: the list makes it visible in reviews.
//!
//! `surface` finds the paths of all items, and `render` describes an item as lines. The style task
//! compares the list with the kept one.

mod render;
mod surface;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use xshell::Shell;

use crate::source::CrateTree;
use crate::style::Check;

/// Options of `cargo xtask public-api`.
#[derive(Args, Debug)]
pub(crate) struct PublicApiOptions {
    /// Write the list to docs/public-api.txt instead of printing it.
    #[arg(long)]
    write: bool,
}

/// The published crates by their names in Rust, with their roots.
pub(crate) const CRATES: [(&str, &str); 9] = [
    ("polywire", "src/lib.rs"),
    ("polywire_amqp", "transport-amqp/src/lib.rs"),
    ("polywire_app", "app/src/lib.rs"),
    ("polywire_codec", "codec/src/lib.rs"),
    ("polywire_conformance", "conformance-tests/src/lib.rs"),
    ("polywire_core", "core/src/lib.rs"),
    ("polywire_dialects", "dialects/src/lib.rs"),
    ("polywire_macros", "macros/src/lib.rs"),
    ("polywire_zmq", "transport-zmq/src/lib.rs"),
];

/// Prints the list, or writes it.
///
/// The kept list is replaced without a look at its changes.
pub(crate) fn run(shell: &Shell, options: &PublicApiOptions) -> Result<()> {
    let list = list(&shell.current_dir())?;
    if options.write {
        fs::write(file(shell), list)?;
    } else {
        print!("{list}");
    }
    Ok(())
}

/// Fails if `docs/public-api.txt` is stale, and names the lines that differ.
///
/// A removed line begins with `-` and an added one with `+`. Without a kept list, every line is an
/// added one. The order of the lines does not matter.
pub(crate) fn check(shell: &Shell) -> Result<Check> {
    let expected = list(&shell.current_dir())?;
    let kept = fs::read_to_string(file(shell)).unwrap_or_default();
    let added = expected.lines().filter(|line| !kept.lines().any(|it| it == *line));
    let removed = kept.lines().filter(|line| !expected.lines().any(|it| it == *line));
    let mut changes: Vec<_> = removed.map(|line| format!("- {line}")).collect();
    changes.extend(added.map(|line| format!("+ {line}")));
    if !changes.is_empty() {
        changes.push("run cargo xtask public-api --write".to_owned());
    }
    Ok(Check::strict("public surface", "changes that docs/public-api.txt lacks", changes))
}

/// Returns the path of the kept list.
fn file(shell: &Shell) -> PathBuf {
    shell.current_dir().join("docs/public-api.txt")
}

/// Returns the list, crate by crate; the lines of a crate are sorted. All features count as
/// enabled.
fn list(workspace: &Path) -> Result<String> {
    let mut text = String::new();
    for (name, root) in CRATES {
        let tree = CrateTree::read(workspace, Path::new(root))?;
        for line in surface::lines(name, &tree) {
            text += &line;
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::source::source_files;

    #[test]
    fn list_has_each_published_crate() {
        let shell = Shell::new().unwrap();
        shell.change_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let manifests = source_files(&shell, "*Cargo.toml").unwrap();
        let published = manifests.iter().filter(|it| !it.text.contains("publish = false"));
        let published: BTreeSet<_> =
            published.map(|manifest| manifest.path.with_file_name("src/lib.rs")).collect();
        let listed: BTreeSet<_> = CRATES.iter().map(|(_, root)| PathBuf::from(root)).collect();
        assert_eq!(listed, published);
    }
}
