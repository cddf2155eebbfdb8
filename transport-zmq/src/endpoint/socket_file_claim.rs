//! The right to bind a socket file, which one socket has at a time.

use std::path::Path;

#[cfg(unix)]
use polywire_core::Error;
use polywire_core::Result;

#[cfg(unix)]
use crate::common_errors::config;
#[cfg(unix)]
use crate::endpoint::Endpoint;

/// The right to bind the socket files of a folder. It ends when the value is dropped.
///
/// Without it, two servers could find the same stale file. The second one would remove the socket
/// file that the first one has bound meanwhile. The right is a lock on the folder, so no file is
/// left over. A folder that this user may not read, or whose file system knows no locks, is not
/// locked.
#[must_use = "the claim ends when it is dropped"]
pub(crate) struct SocketFileClaim {
    #[cfg(unix)]
    _lock: Option<std::fs::File>,
}

#[cfg(not(unix))]
impl SocketFileClaim {
    /// Claims nothing: there are no socket files here.
    #[allow(clippy::unused_async, reason = "the variant for unix awaits")]
    pub(crate) async fn take(_: &Path) -> Result<Self> {
        Ok(Self {})
    }
}

#[cfg(unix)]
impl SocketFileClaim {
    /// Prepares to bind a socket file: removes a stale one, and fails if anything else is at its
    /// path. Waits while another socket has the right. If the future is dropped, nothing is
    /// claimed.
    ///
    /// The engines would replace the file of a live server. Only a refused connection proves that
    /// no process listens on a socket file. Any other failure to connect proves nothing: the server
    /// may allow no connections of this user, have a full backlog, or have a socket of another
    /// type.
    ///
    /// # Errors
    ///
    /// `Config` if another process listens on the socket file, or may do so, and for a file that is
    /// no socket, or a folder that another process keeps locked for 5 seconds.
    pub(crate) async fn take(path: &Path) -> Result<Self> {
        use std::io::ErrorKind;
        use std::os::unix::fs::FileTypeExt;

        let refuse = |text: &'static str| {
            config(text).with("endpoint", Endpoint::Ipc(path.display().to_string()))
        };
        let locked = tokio::time::timeout(LOCK_MAX, lock(path)).await;
        let claim = Self {
            _lock: locked.map_err(|_| {
                refuse("cannot bind the socket file: another process keeps its folder locked")
            })?,
        };
        let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(claim) };
        if !found.file_type().is_socket() {
            return Err(refuse("cannot bind the socket file: the path is that of another file"));
        }
        match tokio::net::UnixStream::connect(path).await {
            Ok(_) => Err(refuse("cannot bind the socket file: another process listens on it")),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                // A failure to remove the file becomes a failure to bind.
                let _ = std::fs::remove_file(path);
                Ok(claim)
            }
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(claim),
            Err(error) => {
                let text = "cannot bind the socket file: another process may listen on it, remove \
                            the file if none does";
                Err(Error::with_source(refuse(text), error))
            }
        }
    }

    /// Removes a socket file if `is_own` holds. Leaves the file while another socket has the right.
    #[cfg(feature = "engine-zeromq")]
    pub(crate) fn remove_if(path: &Path, is_own: impl Fn() -> bool) -> std::io::Result<()> {
        let folder = folder(path);
        let locked = match &folder {
            Some(folder) => try_lock(folder),
            None => Some(false),
        };
        if locked.is_some() && is_own() { std::fs::remove_file(path) } else { Ok(()) }
    }
}

/// Locks the folder of a file, as soon as no other socket has it locked; `None` if it cannot be
/// locked at all.
#[cfg(unix)]
async fn lock(path: &Path) -> Option<std::fs::File> {
    let folder = folder(path)?;
    loop {
        match try_lock(&folder) {
            Some(true) => return Some(folder),
            Some(false) => return None,
            // A blocking lock could not be given up at a deadline.
            None => tokio::time::sleep(LOCK_PAUSE).await,
        }
    }
}

/// Opens the folder of a file; `None` without the right to read it.
#[cfg(unix)]
fn folder(path: &Path) -> Option<std::fs::File> {
    let parent = path.parent()?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    std::fs::File::open(parent).ok()
}

/// Locks a folder, until the file is closed. Returns false if locks are not supported, and `None`
/// if another socket has the folder locked.
#[cfg(unix)]
fn try_lock(folder: &std::fs::File) -> Option<bool> {
    match folder.try_lock() {
        Ok(()) => Some(true),
        Err(std::fs::TryLockError::WouldBlock) => None,
        Err(std::fs::TryLockError::Error(_)) => Some(false),
    }
}

/// The longest wait for another socket, which keeps the lock while it binds.
#[cfg(unix)]
const LOCK_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// The pause between two attempts.
#[cfg(unix)]
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixListener;

    use futures_util::poll;

    use super::*;

    /// A folder with a stale socket file, removed when the test has ended.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn with_stale_file(name: &str) -> std::io::Result<Self> {
            let name = format!("polywire-claim-{name}-{}", std::process::id());
            let folder = Self(std::env::temp_dir().join(name));
            std::fs::create_dir(&folder.0)?;
            drop(UnixListener::bind(folder.file())?);
            Ok(folder)
        }

        fn file(&self) -> std::path::PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn second_claimer_of_a_stale_file_waits_until_the_first_has_bound_it() {
        let folder = Folder::with_stale_file("two").unwrap();
        let path = folder.file();
        let first = SocketFileClaim::take(&path).await.unwrap();
        let mut second = Box::pin(SocketFileClaim::take(&path));
        assert!(poll!(&mut second).is_pending());
        let listener = UnixListener::bind(&path).unwrap();
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let error = second.await.err().expect("the first one listens");
        assert!(error.to_string().contains("another process listens on it"), "{error}");
        drop(listener);
        assert!(SocketFileClaim::take(&path).await.is_ok(), "the file is stale again");
    }

    #[tokio::test(start_paused = true)]
    async fn folder_that_stays_locked_is_an_error() {
        let folder = Folder::with_stale_file("locked").unwrap();
        let other = std::fs::File::open(&folder.0).unwrap();
        other.lock().unwrap();
        let error = SocketFileClaim::take(&folder.file()).await.err().expect("it is locked");
        assert!(error.to_string().contains("keeps its folder locked"), "{error}");
        drop(other);
        assert!(SocketFileClaim::take(&folder.file()).await.is_ok());
    }
}
