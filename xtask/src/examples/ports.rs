//! Ports of the loopback interface.

use anyhow::Result;

/// Returns a port that was free a moment ago.
///
/// Another process may bind the port before the caller does.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
