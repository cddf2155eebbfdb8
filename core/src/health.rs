//! Health: the state of a transport's connection and of its endpoint handles, and canaries.
//!
//! A connection that answers pings proves little: a program can be connected while nothing is
//! consumed. So [`Health`] names both, the [`ConnectionState`] and the [`EndpointState`] of each
//! endpoint handle that receives work, and a canary goes through the queue of each handle and back.
//!
//! Read in this order: [`Transport::health`](crate::Transport::health) returns a [`HealthReader`];
//! its [`current`](HealthReader::current) state and its [`changes`](HealthReader::changes) are
//! values of [`Health`]; its [`canary`](HealthReader::canary) returns a [`CanaryReport`]. Backends
//! report by a [`HealthReporter`] and one [`EndpointReporter`] for each handle.

mod canary_report;
mod changes;
mod connection_state;
mod endpoint_health;
mod endpoint_probe;
mod endpoint_reporter;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod health;
mod pending_canaries;
mod reader;
mod registry;
mod reporter;

pub use self::canary_report::{CanaryEcho, CanaryReceiver, CanaryReport, EndpointCanary};
pub use self::changes::HealthChanges;
pub use self::connection_state::ConnectionState;
pub use self::endpoint_health::{EndpointHealth, EndpointRole, EndpointState};
pub use self::endpoint_probe::EndpointProbe;
pub use self::endpoint_reporter::EndpointReporter;
pub use self::health::Health;
#[doc(hidden)]
pub use self::pending_canaries::{PendingCanaries, PendingCanary};
pub use self::reader::HealthReader;
pub use self::reporter::HealthReporter;
