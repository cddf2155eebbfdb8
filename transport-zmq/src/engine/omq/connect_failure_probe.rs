//! Probes of endpoints, for the cause of a failure that the engine does not report.
//!
//! A probe opens a second connection beside that of the engine, and closes it at once. The peer
//! sees a connection without a greeting. Probes run in the task that waits for the connection, and
//! their results go into log lines and errors only.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::engine::endpoint_failure::connect_cause;

/// Connects to an endpoint once more, and describes the failure: the engine reports only that an
/// attempt has failed. Returns `None` if connecting succeeds, and takes 2 seconds at most.
///
/// A connection that takes longer than 2 seconds counts as timed out.
pub(super) async fn probe(endpoint: &Endpoint) -> Option<String> {
    let connected = match endpoint {
        Endpoint::Tcp { host, port } => timeout(PROBE_MAX, connect_tcp(host, *port)).await,
        #[cfg(unix)]
        Endpoint::Ipc(path) => {
            // The socket of an abstract name begins with a zero byte.
            let name = path.strip_prefix('@').map(|name| format!("\0{name}"));
            let connecting = tokio::net::UnixStream::connect(name.as_deref().unwrap_or(path));
            timeout(PROBE_MAX, connecting).await.map(|connected| connected.map(drop))
        }
        #[cfg(not(unix))]
        Endpoint::Ipc(_) => return None,
    };
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.err().map(|error| connect_cause(endpoint, &error))
}

/// Looks a host up, without connecting, and describes the failure.
///
/// `None` stands for a host that is found, and for a socket file, which has no host. The lookup
/// takes 2 seconds at most; a longer one counts as a failure.
pub(super) async fn unresolvable(endpoint: &Endpoint) -> Option<String> {
    let Endpoint::Tcp { host, port } = endpoint else { return None };
    let looking_up = timeout(PROBE_MAX, lookup_host(format!("{host}:{port}"))).await;
    match looking_up {
        Ok(looked_up) => looked_up.err().map(|error| connect_cause(endpoint, &error)),
        Err(_) => Some("there is no answer to the lookup of the host".to_owned()),
    }
}

/// The longest time for a probe.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// Connects to the addresses of a host in turn, until one of them accepts.
///
/// # Errors
///
/// The failure of the lookup, or that of the last address.
async fn connect_tcp(host: &str, port: u16) -> io::Result<()> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in lookup_host(format!("{host}:{port}")).await? {
        match TcpStream::connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
