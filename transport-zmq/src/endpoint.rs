//! Endpoints: the addresses that sockets bind and connect, and the endpoint handles that have them.

mod bound_endpoints;
#[allow(clippy::module_inception, reason = "the folder is named after its main type")]
mod endpoint;
mod endpoint_set;
mod open_handles;
mod own_client;
mod own_identity;
mod refusing_peers;
mod side;
mod socket_file_claim;
mod transport_health;

pub(crate) use self::bound_endpoints::{BindGuard, BoundEndpoints};
pub(crate) use self::endpoint::Endpoint;
pub(crate) use self::endpoint_set::{EndpointChange, EndpointSet, EndpointSets};
pub(crate) use self::open_handles::{ManagedHandle, OpenHandles};
pub(crate) use self::own_client::OwnClient;
#[cfg_attr(
    not(any(feature = "engine-omq", feature = "engine-zeromq")),
    allow(unused_imports, reason = "the engines ask for it")
)]
pub(crate) use self::own_identity::OwnIdentity;
pub(crate) use self::refusing_peers::RefusingPeers;
pub use self::side::Side;
pub(crate) use self::socket_file_claim::SocketFileClaim;
pub(crate) use self::transport_health::{SocketPresence, TransportHealth};
