//! Connections to the broker: dialing, supervision, reconnects, heartbeats, credentials.

pub(crate) mod backoff;
mod brokers;
pub(crate) mod channel_setup;
pub(crate) mod credentials;
mod dial;
pub(crate) mod frame;
pub(crate) mod heartbeat;
pub(crate) mod monitor;
pub(crate) mod supervised;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
