//! Options of all sockets, and their default values in numbers.

use std::sync::Arc;
use std::time::Duration;

use omq_tokio::{KeepAlive, Options, ReconnectPolicy, Socket, SocketType, SubscriptionAdmission};
use polywire_core::{Deadline, Result};

use super::connection_limiter::ConnectionLimiter;
use super::engine_error::engine_error;
use crate::config::Settings;
use crate::engine::Traffic;
use crate::wire;

/// Opens a socket, with the limiter of its inbound connections. The security mechanism asks the
/// limiter in each handshake, and a publisher asks it about each subscription.
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
    let (handshakes, subscriptions) = (limiter.clone(), limiter.clone());
    let admission = SubscriptionAdmission::new(move |request| {
        subscriptions.admits(request.prefix, &request.peer.authentication)
    });
    let options = Options {
        mechanism: settings.security.mechanism(move |peer| handshakes.is_full(peer)),
        subscription_admission: Some(admission),
        ..options
    };
    Ok((Socket::try_new(kind, options).map_err(engine_error)?, limiter))
}

/// Returns the options that all sockets share. The functions below change some of them, and sockets
/// others, such as the high-water mark of a puller.
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
/// - `heartbeat_interval` and `heartbeat_timeout`: detection of dead peers. A heartbeat detects
///   nothing while our own writes are stuck: see [`of_calls`] and [`subscribing`].
///
/// - `reconnect`: pauses from 100 ms to 5 seconds.
fn options(settings: &Settings) -> Options {
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
        .heartbeat_interval(settings.heartbeat)
        .heartbeat_timeout(settings.heartbeat)
        .reconnect(ReconnectPolicy::Exponential { min: RECONNECT_MIN, max: RECONNECT_MAX })
}

/// Returns the options of a socket of requests and replies. On Linux, the kernel ends a connection
/// whose peer has taken no bytes for six heartbeats, while some wait for it.
///
/// The peer may be alive and not read. Its calls end as `Disconnected` then, or are sent again. The
/// loss of a job or an event is not reported, so that their sockets have no such bound, or a much
/// larger one.
pub(super) fn of_calls(settings: &Settings) -> Options {
    options(settings).tcp_user_timeout(settings.silence_max())
}

/// Returns the options of a socket that publishes. A subscriber has six heartbeats to send
/// anything: a busy one reads no heartbeats, and sends its own at the same interval as this socket,
/// perhaps a moment later. On Linux, one that takes no bytes for sixty heartbeats is given up: its
/// process may be frozen, and the other subscribers wait for it.
pub(super) fn publishing(settings: &Settings) -> Options {
    options(settings)
        .heartbeat_timeout(settings.silence_max())
        .tcp_user_timeout(settings.unread_max())
}

/// Returns the options of a socket that subscribes. Its heartbeats ask the publisher to end the
/// connection if nothing follows them for six heartbeats, even while the publisher cannot write.
///
/// The engine of the publisher forgets that with the next bytes that are no heartbeat, such as the
/// answer to its own. So a subscriber sends four heartbeats in the time of one, and waits for an
/// answer until two heartbeats have passed.
pub(super) fn subscribing(settings: &Settings) -> Options {
    options(settings)
        .heartbeat_interval(settings.heartbeat / 4)
        .heartbeat_timeout(settings.heartbeat.saturating_mul(7) / 4)
        .heartbeat_ttl(settings.silence_max().min(TTL_MAX))
}

/// Returns the options of a DEALER or PUSH socket. A PUSH socket writes no heartbeats: a puller
/// that is busy reads none, and would lose its connection with the jobs in it.
pub(super) fn sending(settings: &Settings, traffic: &Traffic) -> Options {
    match traffic {
        Traffic::Requests => of_calls(settings),
        Traffic::Jobs(_) | Traffic::AnyJobs => watched_by_the_kernel(settings),
    }
}

/// Returns the options of a socket that pulls. It writes no heartbeats: a write to a peer that has
/// sent its messages and closed fails, and the engine then drops all that it has not read.
pub(super) fn pulling(settings: &Settings) -> Options {
    watched_by_the_kernel(settings)
}

/// Replaces heartbeats by probes of the kernel, which detect a dead host in the time of two
/// heartbeats, or of one and four seconds, while no bytes wait for it. A live kernel answers them
/// for a busy or frozen process.
fn watched_by_the_kernel(settings: &Settings) -> Options {
    // The kernel counts in seconds.
    let second = Duration::from_secs(1);
    let idle = settings.heartbeat.max(second);
    let intvl = (settings.heartbeat / 4).max(second);
    Options { heartbeat_interval: None, heartbeat_timeout: None, ..options(settings) }
        .tcp_keepalive(KeepAlive::Enabled { idle, intvl, cnt: 4 })
}

/// Messages that a socket queues in each direction for one peer: 1,000, the default of the engine
/// and of libzmq.
pub(super) const HIGH_WATER_MARK: u32 = 1000;
/// Monitor events that may be unread. If there are more, connected peers are counted again.
const MONITOR_EVENTS_MAX: usize = 1024;
/// The longest time to live that a heartbeat can announce: 6,553.5 seconds, in tenths in 16 bits.
const TTL_MAX: Duration = Duration::from_millis(6_553_500);
/// The shortest pause between two attempts to connect: 100 ms. It doubles with each failure.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect: 5 seconds.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(5);
