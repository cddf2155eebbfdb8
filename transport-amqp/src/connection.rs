//! Connections to the broker: dialing, supervision, reconnects, heartbeats, credentials.
//!
//! - [`supervised_connection`]: the handle that the rest of the crate uses. It opens channels,
//!   waits for a connection where there is none, and reports a final refusal.
//! - [`supervisor`]: the task behind the handle. It notices a loss, and reconnects with
//!   [`backoff`].
//! - [`brokers`]: the brokers of the URL in turn; [`dial`]: one attempt, with [`tls`] and
//!   [`credentials`].
//! - [`connection_source`]: connections that the program makes, in place of those to the brokers of
//!   the URL.
//! - [`confirm_listeners`]: what publishers learn from the stream of a connection, and
//!   [`engine_connection`]: a connection with its listeners.
//! - [`broker_version`]: the version that the broker states, for abilities that depend on it.
//! - [`inbound_filter`]: rewrites frames that the engine could not parse.
//! - [`event_broadcast`]: events, health and metrics of the connections; [`connection_log`]: the
//!   log of one of them.
//! - [`channel_setup_guard`], [`send_unawaited`]: helpers for channels, which are not supervised:
//!   the owner of a channel opens a new one when the old one is lost.
//!
//! # Tasks and ownership
//!
//! The transport owns one or two handles, and each handle owns the task of its supervisor. The
//! supervisor alone replaces the connection and changes the state that the handle watches. The
//! engine owns the stream of a connection, and with it the filter of [`inbound_filter`].
//!
//! Channels belong to consumers, publishers and single operations. After a loss, a consumer or a
//! publisher opens another channel, at growing pauses.

pub(crate) mod backoff;
pub(crate) mod broker_version;
mod brokers;
pub(crate) mod channel_setup_guard;
pub(crate) mod confirm_listeners;
mod connect_error;
mod connection_log;
pub(crate) mod connection_source;
pub(crate) mod credentials;
mod dial;
mod engine_connection;
mod engine_log_silencer;
pub(crate) mod event_broadcast;
pub(crate) mod heartbeat_interval;
mod inbound_filter;
mod outbound_filter;
pub(crate) mod secret_credentials;
pub(crate) mod send_unawaited;
pub(crate) mod supervised_connection;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
mod tls_cause;

#[cfg(fuzzing)]
pub(crate) use self::inbound_filter::fuzz::frames as fuzz_frames;
