//! The client by which a transport reaches a socket of its own, for canaries.

use polywire_core::{Error, ErrorKind, Result};

use super::bound_endpoints::BindGuard;
use super::endpoint::Endpoint;
use super::own_identity::OwnIdentity;
use crate::common_errors::closed;
use crate::config::Settings;

/// The endpoint and the configuration of a client that a socket of the process allows.
///
/// The value is kept as long as the client is used: the socket admits the client beyond its bounds
/// on connections.
#[derive(Debug)]
pub(crate) struct OwnClient {
    /// The endpoint to connect to.
    pub(crate) endpoint: Endpoint,
    /// The configuration, with the credentials and the routing id of the client.
    pub(crate) settings: Settings,
    /// The routing id, which is known while the value exists.
    _identity: OwnIdentity,
}

impl OwnClient {
    /// Returns a client of the socket of this guard.
    ///
    /// The endpoint is the first that the socket has bound. An address for every interface is
    /// replaced by loopback.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the socket has bound no endpoint, or is a client of CURVE or PLAIN, for
    /// which only its peers have the credentials. `Closed` if the socket is stopped or closed.
    pub(crate) fn of(guard: &BindGuard, settings: &Settings) -> Result<Self> {
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
        let identity = OwnIdentity::begin();
        let settings = Settings { identity: identity.bytes().clone(), ..client };
        Ok(Self { endpoint, settings, _identity: identity })
    }
}
