//! Folders for the time of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// An empty folder, removed when dropped.
///
/// By hand and not by the crate `tempfile`: `cargo xtask` would build it before each command, for a
/// name and two calls of `std::fs`.
///
/// The content is removed as well, also after an error of the task. A task that a signal ends
/// leaves its folder.
pub(crate) struct TemporaryFolder(PathBuf);

/// The number of the next folder of this process; the id of the process makes names unique on the
/// machine.
static LAST: AtomicU32 = AtomicU32::new(0);

impl TemporaryFolder {
    /// Creates a folder in the system's temporary one. The path is short: paths of sockets in it
    /// may have 108 bytes.
    ///
    /// The name is `polywire-PURPOSE-PROCESS-NUMBER`. `TMPDIR` of this process selects the place.
    ///
    /// # Errors
    ///
    /// If the folder exists already, or if the place is not writable.
    pub(crate) fn create(purpose: &str) -> Result<Self> {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("polywire-{purpose}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Fails if the folder is not empty, and names the entries.
    ///
    /// The entries are sorted by name, and a subfolder counts as one entry.
    pub(crate) fn check_empty(&self) -> Result<()> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            left.push(entry?.file_name().to_string_lossy().into_owned());
        }
        left.sort();
        ensure!(
            left.is_empty(),
            "tests left files in the temporary folder: {}; remove them when the test ends",
            left.join(", ")
        );
        Ok(())
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // The system clears its temporary folder in the end.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_files_are_named() {
        let folder = TemporaryFolder::create("unit").unwrap();
        folder.check_empty().unwrap();
        fs::write(folder.path().join("socket"), "").unwrap();
        let error = folder.check_empty().unwrap_err().to_string();
        assert!(error.contains("temporary folder: socket;"), "{error}");
    }
}
