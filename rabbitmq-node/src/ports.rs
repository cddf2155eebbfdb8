//! Free ports, each for one process.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

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

/// Claims a port for this process, by a socket whose name no second process can bind. The kernel
/// frees the name when the process ends.
#[cfg(target_os = "linux")]
fn claim(port: u16) -> bool {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::{Mutex, PoisonError};

    static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let name = SocketAddr::from_abstract_name(format!("polywire-rabbitmq-node-{port}"));
    match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(socket) => {
            CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
            true
        }
        Err(_) => false,
    }
}

#[cfg(not(target_os = "linux"))]
fn claim(_: u16) -> bool {
    true
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
