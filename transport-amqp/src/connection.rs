//! Connections to the broker: dialing, supervision, reconnects, heartbeats, credentials.
//!
//! - [`supervised`]: the handle that the rest of the crate uses. It opens channels, waits for a
//!   connection where there is none, and reports a final refusal.
//! - [`supervisor`]: the task behind the handle. It notices a loss, and reconnects with
//!   [`backoff`].
//! - [`brokers`]: the brokers of the URL in turn; [`dial`]: one attempt, with [`tls`] and
//!   [`credentials`].
//! - [`source`]: connections that the program makes, in place of those to the brokers of the URL.
//! - [`broker_version`]: the version that the broker states, for abilities that depend on it.
//! - [`inbound`]: rewrites frames that the engine could not parse.
//! - [`monitor`]: events, log and metrics of the connections.
//! - [`channel_guard`], [`enqueue_frame`]: helpers for channels, which are not supervised: the
//!   owner of a channel opens a new one when the old one is lost.
//!
//! # Tasks and ownership
//!
//! The transport owns one or two handles, and each handle owns the task of its supervisor. The
//! supervisor alone replaces the connection and changes the state that the handle watches. The
//! engine owns the stream of a connection, and with it the filter of [`inbound`].
//!
//! Channels belong to consumers, publishers and single operations. After a loss, a consumer or a
//! publisher opens another channel, at growing pauses.

pub(crate) mod backoff;
pub(crate) mod broker_version;
mod brokers;
pub(crate) mod channel_guard;
mod connect_error;
pub(crate) mod credentials;
mod dial;
mod engine_log_silencer;
pub(crate) mod enqueue_frame;
pub(crate) mod heartbeat;
mod inbound;
pub(crate) mod monitor;
pub(crate) mod secret_credentials;
pub(crate) mod source;
pub(crate) mod supervised;
mod supervisor;
#[cfg(feature = "tls")]
mod tls;
mod tls_cause;

#[cfg(fuzzing)]
pub(crate) use self::inbound::fuzz::frames as fuzz_frames;
