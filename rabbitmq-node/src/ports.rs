//! Ports that nobody listens on.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives to outgoing connections, and above those of well-known
/// services.
const RANGE: std::ops::Range<u16> = 21_000..32_000;

static LAST: AtomicU16 = AtomicU16::new(0);

/// A free port. Another process may take it before it is used; then the node says so when it
/// starts.
pub(crate) fn free() -> io::Result<u16> {
    // Processes that start together begin their search in different places.
    let offset = u16::try_from(std::process::id() % 1000).unwrap_or_default() * 11;
    for _ in RANGE {
        let at =
            LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % (RANGE.end - RANGE.start);
        if TcpListener::bind(("127.0.0.1", RANGE.start + at)).is_ok() {
            return Ok(RANGE.start + at);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free"))
}
