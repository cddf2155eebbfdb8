//! Endpoint changes of an open socket, for all engines: checks that come before the engine's own.

use polywire_core::Result;

use super::socket::SocketControl;
use crate::endpoint::{EndpointChange, EndpointSet, Side, SocketFileClaim};

/// Adds all endpoints of a set to a socket. Returns the bound ones with their real ports.
///
/// # Errors
///
/// The error of the first endpoint that fails; those before it stay. The caller drops the socket
/// then.
pub(crate) async fn add_endpoints<S: SocketControl + ?Sized>(
    socket: &S,
    endpoints: &EndpointSet,
) -> Result<Vec<String>> {
    let mut bound = Vec::new();
    for change in endpoints.changes() {
        let real = change_endpoint(socket, &change).await?;
        bound.extend(real.filter(|_| change.side == Side::Bind));
    }
    Ok(bound)
}

/// Makes one endpoint change. Returns the endpoint with its real port, or `None` if nothing had to
/// change.
///
/// Before an `ipc` endpoint is bound, its stale socket file is removed. If the future is dropped,
/// the change may or may not have been made.
///
/// The wait for the right to bind a socket file lasts 5 seconds at most. A removal has no checks
/// here.
///
/// # Errors
///
/// `Config` for port 0 in an endpoint to connect to, or a socket file that a live server uses; and
/// those of [`SocketControl::change`].
pub(crate) async fn change_endpoint<S: SocketControl + ?Sized>(
    socket: &S,
    change: &EndpointChange,
) -> Result<Option<String>> {
    let mut claim = None;
    match (change.side, change.adds) {
        (Side::Bind, true) => {
            if let Some(path) = change.endpoint.socket_file() {
                claim = Some(SocketFileClaim::take(path).await?);
            }
        }
        (Side::Connect, true) => drop(change.endpoint.clone().dialed()?),
        _ => {}
    }
    let changed = socket.change(change).await;
    // Only now may another process look at the socket file.
    drop(claim);
    changed
}
