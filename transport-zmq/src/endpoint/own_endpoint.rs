//! The endpoint by which a transport reaches a socket of its own, for canaries.

use polywire_core::{Error, ErrorKind, Result};

use super::bound::BindGuard;
use super::endpoint::Endpoint;
use crate::config::Settings;

/// Returns an endpoint that connects to the socket of this guard.
///
/// # Errors
///
/// `Unsupported` if the socket has bound no endpoint, or authenticates its peers: the transport has
/// no credentials of a client.
pub(crate) fn own_endpoint(guard: &BindGuard, settings: &Settings) -> Result<Endpoint> {
    if settings.is_secured() {
        let text = "cannot send the canary: the socket admits only peers with credentials";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let bound = guard.first().ok_or_else(|| {
        let text = "cannot send the canary: the socket has bound no endpoint";
        Error::new(ErrorKind::Unsupported, text)
    })?;
    Ok(match Endpoint::parse(&bound)? {
        Endpoint::Tcp { host, port } if host == "0.0.0.0" => {
            Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
        }
        Endpoint::Tcp { host, port } if host == "[::]" => {
            Endpoint::Tcp { host: "[::1]".to_owned(), port }
        }
        endpoint => endpoint,
    })
}
