//! What a socket asks of its peers, and what it shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use omq_tokio::{
    AuthenticationResult, AuthenticationStatus, Authenticator, CurveServerOptions,
    MechanismPeerInfo, MechanismSetup,
};
use polywire_core::transport::LogThrottle;

use super::curve::{self, PublicKey};
use super::plain;

/// What the sockets of a transport do, whichever side binds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Security {
    /// Anybody may come, and nobody is known.
    #[default]
    None,
    CurveServer(curve::CurveServer),
    CurveClient(curve::CurveClient),
    PlainServer(plain::PlainServer),
    PlainClient(plain::PlainClient),
}

impl Security {
    /// As the engine wants it. Whom there is no room for is hung up on without a word, so that it
    /// comes again later; who may not come is told so.
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
                let strangers = AtomicU64::new(0);
                let each = move |_: &MechanismPeerInfo| {
                    stranger(strangers.fetch_add(1, Ordering::Relaxed))
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

/// Each is somebody else to the engine, which would hand the routing identity of one over to
/// another of the same name, and the replies with it.
fn stranger(number: u64) -> AuthenticationResult {
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
