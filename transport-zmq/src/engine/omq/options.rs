//! Socket options.

use std::sync::Arc;
use std::time::Duration;

use omq_tokio::{Options, ReconnectPolicy, Socket, SocketType};
use polywire_core::Result;

use super::error::engine_error;
use super::limiter::ConnectionLimiter;
use crate::config::Settings;
use crate::security::FIRST_MAX;
use crate::wire;

/// Opens a socket, with the limiter of its inbound connections.
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

/// Returns the options that all sockets share.
///
/// All relevant options are set. By default the engine drops unsent messages at once, accepts
/// messages of any size, and silently drops replies to a peer whose queue is full.
pub(super) fn options(settings: &Settings) -> Options {
    let Settings { limits, admission, .. } = settings;
    Options::default()
        .router_mandatory(true)
        .linger(settings.linger)
        .max_message_size(admission.message_max(limits, wire::head_max(limits)))
        .send_hwm(HIGH_WATER_MARK)
        .recv_hwm(HIGH_WATER_MARK)
        .handshake_timeout(admission.handshake_timeout)
        .max_pending_handshakes(admission.pending_handshakes_max)
        .monitor_capacity(MONITOR_EVENTS_MAX)
        // No topic begins with a longer prefix.
        .subscription_admission(|request| request.prefix.len() <= FIRST_MAX)
        .heartbeat_interval(settings.heartbeat)
        .heartbeat_timeout(settings.heartbeat)
        // Heartbeats detect nothing while our own writes are stuck. The kernel does.
        .tcp_user_timeout(settings.heartbeat * 6)
        .reconnect(ReconnectPolicy::Exponential { min: RECONNECT_MIN, max: RECONNECT_MAX })
}

/// Messages that a socket queues in each direction for one peer: 1,000, the default of the engine
/// and of libzmq.
pub(super) const HIGH_WATER_MARK: u32 = 1000;
/// Monitor events that may be unread. If there are more, connected peers are counted again.
const MONITOR_EVENTS_MAX: usize = 1024;
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(5);
