//! The endpoint by which a transport reaches a socket of its own, for canaries.

use polywire_core::{Error, ErrorKind, Result};

use super::bound_endpoints::BindGuard;
use super::endpoint::Endpoint;
use crate::config::Settings;
use crate::error::closed;

/// Returns an endpoint that connects to the socket of this guard, and the configuration of a client
/// that the socket allows.
///
/// The endpoint is the first that the socket has bound. An address for every interface is replaced
/// by loopback.
///
/// # Errors
///
/// `Unsupported` if the socket has bound no endpoint, or is a client of CURVE or PLAIN, for which
/// only its peers have the credentials. `Closed` if the socket is stopped or closed.
pub(crate) fn own_endpoint(guard: &BindGuard, settings: &Settings) -> Result<(Endpoint, Settings)> {
    let client = settings.of_own_client().ok_or_else(|| {
        let text = "cannot send the canary: the socket is a client of CURVE or PLAIN, and only \
                    its peers have the credentials of a server";
        Error::new(ErrorKind::Unsupported, text)
    })?;
    let bound = guard.first().ok_or_else(|| {
        if guard.is_cleared() {
            return closed();
        }
        let text = "cannot send the canary: the socket has bound no endpoint";
        Error::new(ErrorKind::Unsupported, text)
    })?;
    let endpoint = match Endpoint::parse(&bound)? {
        Endpoint::Tcp { host, port } if host == "0.0.0.0" => {
            Endpoint::Tcp { host: "127.0.0.1".to_owned(), port }
        }
        Endpoint::Tcp { host, port } if host == "[::]" => {
            Endpoint::Tcp { host: "[::1]".to_owned(), port }
        }
        endpoint => endpoint,
    };
    Ok((endpoint, client))
}
