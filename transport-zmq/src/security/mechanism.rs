//! The security mechanism of a socket: how it authenticates its peers, and itself to them.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "curve")]
use omq_tokio::CurveServerOptions;
use omq_tokio::{
    AuthenticationResult, AuthenticationStatus, Authenticator, MechanismPeerInfo, MechanismSetup,
};
use polywire_core::transport::LogThrottle;

#[cfg(feature = "curve")]
use super::curve::{self, PublicKey};
use super::plain;

/// The security mechanism of all sockets of a transport, whichever side binds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Security {
    /// Every peer may connect, without an identity.
    #[default]
    None,
    #[cfg(feature = "curve")]
    /// The CURVE server, which authenticates peers by their public keys.
    CurveServer(curve::CurveServer),
    #[cfg(feature = "curve")]
    /// A CURVE client.
    CurveClient(curve::CurveClient),
    /// The PLAIN server, which authenticates peers by name and password.
    PlainServer(plain::PlainServer),
    /// A PLAIN client.
    PlainClient(plain::PlainClient),
}

impl Security {
    /// Returns the option that sets this security.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Self::None => "ZmqBuilder",
            #[cfg(feature = "curve")]
            Self::CurveServer(_) => "ZmqBuilder::curve_server",
            #[cfg(feature = "curve")]
            Self::CurveClient(_) => "ZmqBuilder::curve_client",
            Self::PlainServer(_) => "ZmqBuilder::plain_server",
            Self::PlainClient(_) => "ZmqBuilder::plain_client",
        }
    }

    /// Returns the security of a client that sockets with this security allow. `None` where only
    /// the peer has the credentials of a server.
    pub(crate) fn of_own_client(&self) -> Option<Self> {
        match self {
            Self::None => Some(Self::None),
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => Some(Self::CurveClient(server.own_client())),
            Self::PlainServer(server) => server.own_client().map(Self::PlainClient),
            #[cfg(feature = "curve")]
            Self::CurveClient(_) => None,
            Self::PlainClient(_) => None,
        }
    }

    /// Returns the mechanism for the engine. While `is_full` returns `true` for the address of a
    /// peer, the connection is closed without a reason, so that the peer connects again later.
    /// A peer that is not allowed gets an error.
    ///
    /// The functions of users run in the handshake, after `is_full`. Each socket gets a mechanism
    /// of its own.
    pub(crate) fn mechanism(
        &self,
        is_full: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> MechanismSetup {
        let decide = |decides: Box<Decides>| {
            Authenticator::new_with_result(move |peer| {
                match is_full(peer.peer_address.as_deref()) {
                    true => full(),
                    false => decides(peer),
                }
            })
        };
        match self {
            Self::None => {
                let peers = AtomicU64::new(0);
                let each = move |_: &MechanismPeerInfo| {
                    allow_as_own_user(peers.fetch_add(1, Ordering::Relaxed))
                };
                MechanismSetup::NullServer { authenticator: decide(Box::new(each)) }
            }
            #[cfg(feature = "curve")]
            Self::CurveServer(server) => {
                let mut options = CurveServerOptions::new();
                let (our_keypair, server) = (server.keys().engine(), server.clone());
                let allowed = move |peer: &MechanismPeerInfo| {
                    let key = PublicKey::from_bytes(peer.public_key);
                    allow(peer, &key, server.admits(&key))
                };
                options.authenticator = Some(decide(Box::new(allowed)));
                MechanismSetup::CurveServer { our_keypair, options }
            }
            Self::PlainServer(server) => {
                let server = server.clone();
                let allowed = move |peer: &MechanismPeerInfo| {
                    let given = peer.username.as_deref().zip(peer.password.as_deref());
                    let is_allowed =
                        given.is_some_and(|(user, password)| server.admits(user, password));
                    allow(peer, &given.map_or("", |(user, _)| user), is_allowed)
                };
                MechanismSetup::PlainServer { authenticator: decide(Box::new(allowed)) }
            }
            #[cfg(feature = "curve")]
            Self::CurveClient(client) => {
                let (our_keypair, server_public) = client.engine();
                MechanismSetup::CurveClient { our_keypair, server_public }
            }
            Self::PlainClient(plain::PlainClient { user, password }) => {
                MechanismSetup::PlainClient { username: user.clone(), password: password.clone() }
            }
        }
    }
}

/// A decision about a peer, by the keys or the password of its handshake.
type Decides = dyn Fn(&MechanismPeerInfo) -> AuthenticationResult + Send + Sync;

/// Returns the result for a peer beyond the bounds of admission.
fn full() -> AuthenticationResult {
    AuthenticationResult {
        status: AuthenticationStatus::TemporaryFailure,
        ..AuthenticationResult::deny()
    }
}

/// Allows an unauthenticated peer under its own user id. Otherwise two peers with one routing
/// identity could receive each other's replies.
fn allow_as_own_user(number: u64) -> AuthenticationResult {
    AuthenticationResult::allow().with_user_id(number.to_be_bytes().to_vec())
}

/// Throttle for log lines of denied peers, one for all sockets of the process.
static DENIALS: LogThrottle = LogThrottle::new();

/// Returns the result for a peer with credentials, and logs a denial with its key or user name.
fn allow(
    peer: &MechanismPeerInfo,
    identity: &dyn Display,
    is_allowed: bool,
) -> AuthenticationResult {
    if is_allowed {
        return AuthenticationResult::allow();
    }
    if let Some(count) = DENIALS.note() {
        let address = peer.peer_address.as_deref().unwrap_or_default();
        tracing::warn!(address, %identity, count, "denied peers that are not allowed");
    }
    AuthenticationResult::deny()
}
