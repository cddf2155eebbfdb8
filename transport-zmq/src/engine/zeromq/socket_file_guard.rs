//! The files of bound `ipc` endpoints.
//!
//! The standard library leaves the file of a socket behind, so this engine removes it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::endpoint::SocketFileClaim;

/// The file of a bound socket. Dropping the value removes the file, unless another socket has
/// replaced it: the next server may have bound the same path.
pub(super) struct SocketFileGuard {
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
}

impl SocketFileGuard {
    /// Remembers the file that was bound at `path`.
    ///
    /// # Errors
    ///
    /// The error of reading the file's metadata.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), identity: identity(path)? })
    }
}

impl Drop for SocketFileGuard {
    /// Removes the file. Does not wait for the lock on its folder.
    fn drop(&mut self) {
        let is_own = || identity(&self.path).is_ok_and(|found| found == self.identity);
        // Without rights to remove it, or while another process binds a socket file in the folder,
        // the file stays; the next server replaces it.
        let _ = SocketFileClaim::remove_if(&self.path, is_own);
    }
}

/// Returns the device and the number of a file.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn file_of_the_next_server_is_not_removed() {
        let folder = std::env::temp_dir().join(format!("polywire-file-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("path");
        let bind = || (UnixListener::bind(&path).unwrap(), SocketFileGuard::of(&path).unwrap());
        let (first_listener, first) = bind();
        std::fs::rename(&path, folder.join("old")).unwrap();
        let (second_listener, second) = bind();
        drop((first_listener, first));
        let kept = path.exists();
        drop((second_listener, second));
        let removed = !path.exists();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(kept && removed);
    }
}
