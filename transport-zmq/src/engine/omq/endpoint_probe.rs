//! Probes of endpoints, for the cause of a failure that the engine does not report.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::engine::endpoint_failure::connect_cause;

/// Connects to an endpoint once more, and describes the failure: the engine reports only that an
/// attempt has failed. Returns `None` if connecting succeeds, and takes 2 seconds at most.
pub(super) async fn probe(endpoint: &Endpoint) -> Option<String> {
    let connected = match endpoint {
        Endpoint::Tcp { host, port } => timeout(PROBE_MAX, connect_tcp(host, *port)).await,
        #[cfg(unix)]
        Endpoint::Ipc(path) if !path.starts_with('@') => {
            let connecting = tokio::net::UnixStream::connect(path);
            timeout(PROBE_MAX, connecting).await.map(|connected| connected.map(drop))
        }
        Endpoint::Ipc(_) => return None,
    };
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.err().map(|error| connect_cause(endpoint, &error))
}

/// Looks a host up, without connecting, and describes the failure.
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
