//! Free ports, each for one process.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

/// Ports below those that the kernel assigns to outgoing connections, and above those of well-known
/// services.
const RANGE: std::ops::Range<u16> = 21_000..32_000;

static LAST: AtomicU16 = AtomicU16::new(0);

/// Returns a free port that no other process gets before this one ends.
///
/// A node binds its port some seconds later, and again after each restart. Other programs may bind
/// the port in between; then the start of the node fails with that reason.
pub(crate) fn free() -> io::Result<u16> {
    // Processes that start at the same time search from different ports.
    let offset = u16::try_from(std::process::id() % 1000).unwrap_or_default() * 11;
    for _ in RANGE {
        let at =
            LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % (RANGE.end - RANGE.start);
        let port = RANGE.start + at;
        if claim(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free in 21000-31999"))
}

/// Claims a port for this process, until the process ends.
fn claim(port: u16) -> bool {
    static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let claimed = claim_name(&format!("polywire-rabbitmq-node-{port}"));
    claimed.map(|claim| CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(claim)).is_ok()
}

/// Claims a name, by a socket of that name, which no second process can bind. The kernel frees the
/// name when the socket is dropped or the process ends.
///
/// # Errors
///
/// If the name is taken.
#[cfg(target_os = "linux")]
pub(crate) fn claim_name(name: &str) -> io::Result<UnixDatagram> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// Claims nothing: only Linux has names that end with their process.
#[cfg(not(target_os = "linux"))]
pub(crate) fn claim_name(_: &str) -> io::Result<UnixDatagram> {
    UnixDatagram::unbound()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_given_once() {
        let port = free().unwrap();
        assert_ne!(free().unwrap(), port);
        assert_eq!(claim(port), !cfg!(target_os = "linux"));
    }
}
