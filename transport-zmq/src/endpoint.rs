//! Endpoints: the addresses that sockets bind and connect, and the endpoint handles that have them.

mod bound_endpoints;
mod canary_endpoint;
#[allow(clippy::module_inception, reason = "the folder is named after its main type")]
mod endpoint;
mod open_endpoints;
mod set;
mod side;
mod socket_file_claim;
mod socket_health;

pub(crate) use self::bound_endpoints::{BindGuard, BoundEndpoints};
pub(crate) use self::canary_endpoint::own_endpoint;
pub(crate) use self::endpoint::Endpoint;
pub(crate) use self::open_endpoints::{ManagedEndpoint, OpenEndpoints};
pub(crate) use self::set::{EndpointChange, EndpointSet, EndpointSets};
pub use self::side::Side;
pub(crate) use self::socket_file_claim::SocketFileClaim;
pub(crate) use self::socket_health::{SocketHealth, SocketPresence};
