//! Endpoint changes of an open socket, for all engines: checks that come before the engine's own.

use polywire_core::Result;

use super::socket::SocketControl;
use crate::endpoint::{Endpoint, EndpointChange, EndpointSet, Side, claim_socket_file};

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
/// # Errors
///
/// `Config` for port 0 in an endpoint to connect to, or a socket file that a live server uses; and
/// those of [`SocketControl::change`].
pub(crate) async fn change_endpoint<S: SocketControl + ?Sized>(
    socket: &S,
    change: &EndpointChange,
) -> Result<Option<String>> {
    match (change.side, change.adds) {
        (Side::Bind, true) => claim_socket_files(std::slice::from_ref(&change.endpoint)).await?,
        (Side::Connect, true) => drop(change.endpoint.clone().dialed()?),
        _ => {}
    }
    socket.change(change).await
}

/// Removes the stale socket files of `ipc` endpoints. Fails if a live server listens on one.
async fn claim_socket_files(endpoints: &[Endpoint]) -> Result<()> {
    for path in endpoints.iter().filter_map(Endpoint::socket_file) {
        claim_socket_file(path.to_owned()).await?;
    }
    Ok(())
}
