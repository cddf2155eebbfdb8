//! The security mechanism of a socket: how it authenticates its peers, and itself to them.

use std::sync::atomic::{AtomicU64, Ordering};

use omq_tokio::{
    AuthenticationResult, AuthenticationStatus, Authenticator, CurveServerOptions,
    MechanismPeerInfo, MechanismSetup,
};
use polywire_core::transport::LogThrottle;

use super::curve::{self, PublicKey};
use super::plain;

/// The security mechanism of all sockets of a transport, whichever side binds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Security {
    /// Every peer may connect, without an identity.
    #[default]
    None,
    /// The CURVE server, which authenticates peers by their public keys.
    CurveServer(curve::CurveServer),
    /// A CURVE client.
    CurveClient(curve::CurveClient),
    /// The PLAIN server, which authenticates peers by name and password.
    PlainServer(plain::PlainServer),
    /// A PLAIN client.
    PlainClient(plain::PlainClient),
}

impl Security {
    /// Returns the mechanism for the engine. While `is_full` returns `true` for the address of a
    /// peer, the connection is closed without a reason, so that the peer connects again later.
    /// A peer that is not allowed gets an error.
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
            Self::CurveServer(server) => {
                let mut options = CurveServerOptions::new();
                let (our_keypair, server) = (server.keys().engine(), server.clone());
                let allowed = move |peer: &MechanismPeerInfo| {
                    allow(peer, server.admits(&PublicKey::from_bytes(peer.public_key)))
                };
                options.authenticator = Some(decide(Box::new(allowed)));
                MechanismSetup::CurveServer { our_keypair, options }
            }
            Self::PlainServer(server) => {
                let server = server.clone();
                let allowed = move |peer: &MechanismPeerInfo| {
                    let given = peer.username.as_deref().zip(peer.password.as_deref());
                    allow(peer, given.is_some_and(|(user, password)| server.admits(user, password)))
                };
                MechanismSetup::PlainServer { authenticator: decide(Box::new(allowed)) }
            }
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

type Decides = dyn Fn(&MechanismPeerInfo) -> AuthenticationResult + Send + Sync;

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

static DENIALS: LogThrottle = LogThrottle::new();

fn allow(peer: &MechanismPeerInfo, is_allowed: bool) -> AuthenticationResult {
    if is_allowed {
        return AuthenticationResult::allow();
    }
    let (address, user, key) =
        (&peer.peer_address, &peer.username, PublicKey::from_bytes(peer.public_key));
    if let Some(count) = DENIALS.note() {
        tracing::warn!(?address, ?user, %key, count, "denied peers that are not allowed");
    }
    AuthenticationResult::deny()
}
