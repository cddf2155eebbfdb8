//! Socket files that the engine cannot remove.
//!
//! The engine removes the file of a closed `ipc` socket by its path, some time after the socket was
//! closed. By then, the next server may have bound the same path: the engine would remove the file
//! of that server, which no client could reach any more. So a socket is bound at a private path and
//! the file moves to its real path, where only [`SocketFile`] removes it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The file of a bound socket. Dropping it removes the file, unless another socket has replaced it.
pub(super) struct SocketFile {
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
}

/// The longest path of a Unix socket in bytes, on Linux.
const PATH_MAX: usize = 107;

/// Returns a private path beside `path`, or `None` if the path would be too long or `path` is no
/// file.
pub(super) fn private_path(path: &str) -> Option<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let private = format!("{path}.{}-{number}", std::process::id());
    (!path.starts_with('@') && private.len() <= PATH_MAX).then_some(private)
}

impl SocketFile {
    /// Moves the socket file at `private` to `path`.
    ///
    /// # Errors
    ///
    /// Those of the file system, such as a file that exists at `path`. The socket file then stays
    /// at `private`, for the engine to remove.
    pub(super) fn place(private: &str, path: &str) -> io::Result<Self> {
        // A rename would replace any file at `path`.
        std::fs::hard_link(private, path)?;
        std::fs::remove_file(private)?;
        Ok(Self { path: path.into(), identity: identity(Path::new(path))? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Without rights to remove it, the file stays; the next server replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
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
    fn file_at_the_path_is_not_replaced() {
        let folder = std::env::temp_dir().join(format!("polywire-place-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (private, path) = (folder.join("private"), folder.join("path"));
        let _listener = UnixListener::bind(&private).unwrap();
        std::fs::write(&path, "kept").unwrap();
        let placed = SocketFile::place(private.to_str().unwrap(), path.to_str().unwrap());
        let kept = std::fs::read_to_string(&path);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(placed.err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(kept.unwrap(), "kept");
    }
}
