//! Free ports.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports below those that the kernel assigns to outgoing connections, and above those of well-known
/// services.
const RANGE: std::ops::Range<u16> = 21_000..32_000;

static LAST: AtomicU16 = AtomicU16::new(0);

/// Returns a free port. If another process binds the port first, the start of the node fails with
/// that reason.
pub(crate) fn free() -> io::Result<u16> {
    // Processes that start at the same time search from different ports.
    let offset = u16::try_from(std::process::id() % 1000).unwrap_or_default() * 11;
    for _ in RANGE {
        let at =
            LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % (RANGE.end - RANGE.start);
        if TcpListener::bind(("127.0.0.1", RANGE.start + at)).is_ok() {
            return Ok(RANGE.start + at);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free in 21000-31999"))
}
