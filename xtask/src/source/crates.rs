//! Files of the workspace, and the roots of its crates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// A file with its text.
pub(crate) struct SourceFile {
    /// The path below the root of the workspace.
    pub(crate) path: PathBuf,
    /// The text of the file.
    pub(crate) text: String,
}

/// Reads the files of a pattern, such as `*.rs`, that Git knows or does not ignore, sorted by path.
///
/// Files that are new and not yet added to Git count. Files that Git ignores, such as those in
/// `target`, do not.
pub(crate) fn source_files(shell: &Shell, pattern: &str) -> Result<Vec<SourceFile>> {
    let listed =
        cmd!(shell, "git ls-files --cached --others --exclude-standard {pattern}").read()?;
    let mut paths: Vec<_> = listed.lines().map(PathBuf::from).collect();
    paths.sort();
    paths.dedup();
    let root = shell.current_dir();
    // A file that Git lists may have been removed since.
    let present = paths.into_iter().filter(|path| root.join(path).exists());
    present
        .map(|path| {
            let text = fs::read_to_string(root.join(&path));
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(SourceFile { path, text })
        })
        .collect()
}

/// Returns the files that a crate begins with: libraries, programs, test programs, examples.
pub(crate) fn crate_roots(files: &[SourceFile]) -> Vec<PathBuf> {
    files.iter().map(|file| &file.path).filter(|path| is_root(path)).cloned().collect()
}

/// Decides by the names of the file and of its folders alone.
fn is_root(path: &Path) -> bool {
    let mut names = path.iter().rev().map(|name| name.to_string_lossy());
    let (Some(file), folder) = (names.next(), names.next()) else { return false };
    match (folder.as_deref(), &*file) {
        (Some("src"), "lib.rs" | "main.rs") => true,
        // tests/ui holds cases that do not compile.
        (Some("tests" | "examples" | "more" | "programs" | "fuzz_targets"), _) => true,
        (Some(_), "main.rs") => names.next().is_some_and(|name| name == "tests"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temporary::TemporaryFolder;

    #[test]
    fn files_that_are_not_added_to_git_are_read_unless_git_ignores_them() {
        let folder = TemporaryFolder::create("crates").unwrap();
        let shell = Shell::new().unwrap();
        shell.change_dir(folder.path());
        cmd!(shell, "git init --quiet").quiet().run().unwrap();
        for (name, text) in [
            (".gitignore", "target"),
            ("Cargo.toml", "[package]"),
            ("new/Cargo.toml", "[lib]"),
            ("target/Cargo.toml", "[bin]"),
            ("new/lib.rs", "//! New."),
        ] {
            shell.write_file(name, text).unwrap();
        }
        cmd!(shell, "git add Cargo.toml").quiet().run().unwrap();
        let texts = |pattern| {
            let files = source_files(&shell, pattern).unwrap();
            files.into_iter().map(|file| file.text).collect::<Vec<_>>()
        };
        assert_eq!(texts("*Cargo.toml"), ["[package]", "[lib]"]);
        assert_eq!(texts("*.rs"), ["//! New."]);
    }

    #[test]
    fn roots_differ_from_modules() {
        for root in ["src/lib.rs", "core/src/lib.rs", "core/tests/it/main.rs", "tests/ui.rs"] {
            assert!(is_root(Path::new(root)), "{root}");
        }
        for module in ["core/src/error.rs", "core/tests/it/rpc.rs", "tests/ui/item.rs", "main.rs"] {
            assert!(!is_root(Path::new(module)), "{module}");
        }
    }
}
