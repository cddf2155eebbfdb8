//! Options of all sockets, and their default values in numbers.

use std::sync::Arc;
use std::time::Duration;

use omq_tokio::{KeepAlive, Options, ReconnectPolicy, Socket, SocketType};
use polywire_core::{Deadline, Result};

use super::connection_limiter::ConnectionLimiter;
use super::error::engine_error;
use crate::config::Settings;
use crate::security::FIRST_MAX;
use crate::wire;

/// Opens a socket, with the limiter of its inbound connections. The security mechanism asks the
/// limiter in each handshake.
///
/// # Errors
///
/// `Config` if the engine rejects an option.
pub(super) fn open(
    settings: &Settings,
    kind: SocketType,
    options: Options,
) -> Result<(Socket, Arc<ConnectionLimiter>)> {
    let limiter = ConnectionLimiter::new(settings.admission);
    let handshakes = limiter.clone();
    let options = Options {
        mechanism: settings.security.mechanism(move |peer| handshakes.is_full(peer)),
        ..options
    };
    Ok((Socket::try_new(kind, options).map_err(engine_error)?, limiter))
}

/// Returns the options that all sockets share. Sockets change some of them, such as the high-water
/// mark of a puller.
///
/// All relevant options are set, because the engine's own defaults lose messages:
///
/// - `router_mandatory`: a reply to a peer that is gone or full fails or waits. The default drops
///   it.
///
/// - `linger`: unsent messages are sent after a close. The default drops them.
///
/// - `max_message_size`: follows from the limits and the admission. The default has no bound.
///
/// - `send_hwm` and `recv_hwm`: 1,000 messages for each peer.
///
/// - `handshake_timeout`, `max_pending_handshakes` and `subscription_admission`: bounds on peers
///   that have not proved who they are, or ask for too much.
///
/// - `heartbeat_interval`, `heartbeat_timeout` and `tcp_user_timeout`: detection of dead peers. A
///   heartbeat detects nothing while our own writes are stuck; the kernel does, after six
///   heartbeats.
///
/// - `reconnect`: pauses from 100 ms to 5 seconds.
pub(super) fn options(settings: &Settings) -> Options {
    let Settings { limits, admission, .. } = settings;
    Options::default()
        .router_mandatory(true)
        .linger(settings.linger)
        .max_message_size(admission.message_max(limits, wire::head_max(limits)))
        .send_hwm(HIGH_WATER_MARK)
        .recv_hwm(HIGH_WATER_MARK)
        // The engine refuses all peers if the sum with its clock overflows.
        .handshake_timeout(admission.handshake_timeout.min(Deadline::MAX))
        .max_pending_handshakes(admission.pending_handshakes_max)
        .monitor_capacity(MONITOR_EVENTS_MAX)
        // No topic begins with a longer prefix.
        .subscription_admission(|request| request.prefix.len() <= FIRST_MAX)
        .heartbeat_interval(settings.heartbeat)
        .heartbeat_timeout(settings.heartbeat)
        // Heartbeats detect nothing while our own writes are stuck. The kernel does.
        .tcp_user_timeout(settings.heartbeat.saturating_mul(6))
        .reconnect(ReconnectPolicy::Exponential { min: RECONNECT_MIN, max: RECONNECT_MAX })
}

/// Returns the options of a socket that only receives. It writes no heartbeats: a write to a peer
/// that has sent its messages and closed fails, and the engine then drops all that it has not read.
/// The kernel detects a dead host instead, in the time of two heartbeats.
pub(super) fn receiving_only(options: Options, settings: &Settings) -> Options {
    // The kernel counts in seconds. On Linux, the second option takes the place of the count.
    let second = Duration::from_secs(1);
    let idle = settings.heartbeat.max(second);
    let intvl = (settings.heartbeat / 4).max(second);
    Options { heartbeat_interval: None, heartbeat_timeout: None, ..options }
        .tcp_keepalive(KeepAlive::Enabled { idle, intvl, cnt: 4 })
        .tcp_user_timeout(2 * idle)
}

/// Messages that a socket queues in each direction for one peer: 1,000, the default of the engine
/// and of libzmq.
pub(super) const HIGH_WATER_MARK: u32 = 1000;
/// Monitor events that may be unread. If there are more, connected peers are counted again.
const MONITOR_EVENTS_MAX: usize = 1024;
/// The shortest pause between two attempts to connect: 100 ms. It doubles with each failure.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect: 5 seconds.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(5);
