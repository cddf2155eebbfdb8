//! The sockets of `omq-tokio`.

mod dealer;
mod door;
mod intake;
mod lobby;
mod port;
mod publication;
mod pull;
mod router;
mod subscribed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use omq_tokio::{
    DisconnectReason, Message, MonitorEvent, MonitorRecvError, MonitorStream, Options,
    ReconnectPolicy, Socket, SocketType,
};
use polywire_core::{Body, Error, ErrorKind, Result};

pub(super) use self::dealer::Dealer;
use self::door::Door;
use self::intake::Intake;
pub(super) use self::lobby::Lobby;
use self::port::Port;
pub(super) use self::publication::XPub;
pub(super) use self::pull::Pull;
pub(super) use self::router::Router;
pub(super) use self::subscribed::Sub;
use super::cannot_bind;
use crate::config::Settings;
use crate::error::{caller_gone, closed, config};
use crate::security::FIRST_MAX;
use crate::wire::{self, Frames};

/// A socket, and what looks after those who come to it.
fn open(settings: &Settings, kind: SocketType, options: Options) -> Result<(Socket, Arc<Door>)> {
    let door = Door::new(settings.admission);
    let asked = door.clone();
    let options = Options {
        mechanism: settings.security.mechanism(move |peer| asked.is_full(peer)),
        ..options
    };
    Ok((Socket::try_new(kind, options).map_err(failed)?, door))
}

/// Everything that matters is said, since the engine's defaults drop what is unsent, take messages
/// of any size, and lose replies to a full peer in silence.
fn options(settings: &Settings) -> Options {
    let Settings { limits, admission, .. } = settings;
    Options::default()
        .router_mandatory(true)
        .linger(settings.linger)
        .max_message_size(admission.message_max(limits, wire::head_max(limits)))
        .send_hwm(HIGH_WATER_MARK)
        .recv_hwm(HIGH_WATER_MARK)
        .handshake_timeout(admission.handshake_timeout)
        .max_pending_handshakes(admission.pending_handshakes_max)
        .monitor_capacity(EVENTS)
        // What no topic can begin with needs no room.
        .subscription_admission(|request| request.prefix.len() <= FIRST_MAX)
        .heartbeat_interval(settings.heartbeat)
        .heartbeat_timeout(settings.heartbeat)
        // Heartbeats cannot tell while our own writes are stuck; the kernel can.
        .tcp_user_timeout(settings.heartbeat * 6)
        .reconnect(ReconnectPolicy::Exponential { min: RETRY_MIN, max: RETRY_MAX })
}

/// Messages that wait for one peer, and as many from it. The default of the engine, and of libzmq.
const HIGH_WATER_MARK: u32 = 1000;
/// Comings and goings that may wait to be noted. Beyond, those who are there are counted anew.
const EVENTS: usize = 1024;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a socket receives until it is closed, taken in by batches.
fn received(socket: Socket) -> impl futures_core::Stream<Item = Message> + Send {
    stream::unfold((socket, Vec::new()), |(socket, mut batch)| async move {
        if batch.is_empty() {
            // So that a peer that never pauses does not keep other tasks from running.
            tokio::task::coop::consume_budget().await;
            socket.recv_many_into(BATCH, &mut batch).await.ok()?;
            batch.reverse();
        }
        batch.pop().map(|message| (message, (socket, batch)))
    })
    // Who reads it may look again after its end.
    .fuse()
}

const BATCH: usize = 256;

fn message_of(Frames { head, body }: Frames) -> Message {
    match body {
        None => Message::single(head),
        Some(body) if body.as_slice().is_some() => Message::multipart([head, body.into_bytes()]),
        Some(body) => Message::multipart(std::iter::once(head).chain(body.frames().cloned())),
    }
}

/// A message with a frame before those that a request would have.
fn message_under(first: Bytes, Frames { head, body }: Frames) -> Message {
    match body {
        None => Message::multipart([first, head]),
        Some(body) => Message::multipart([first, head].into_iter().chain(body.frames().cloned())),
    }
}

/// The parts of what came, of which a body has `frames_max` at the most. One that has more is cut
/// to one more than that, so that the limits refuse it for all to see: taking it apart would cost
/// the square of a number that a stranger chose.
fn frames_of(mut message: Message, frames_max: usize) -> Frames {
    let parts_max = frames_max.saturating_add(2);
    if message.len() >= parts_max {
        let mut parts = message.iter().take(parts_max);
        return Frames {
            head: parts.next().unwrap_or_default(),
            body: Some(Body::from_frames(parts)),
        };
    }
    let head = message.pop_front().unwrap_or_default();
    if message.is_empty() {
        return Frames { head, body: None };
    }
    Frames { head, body: Some(Body::from_frames(std::iter::from_fn(|| message.pop_front()))) }
}

/// What the engine gave back, which was within the limits when it got it.
fn given_back(message: Message) -> Frames {
    frames_of(message, usize::MAX)
}

/// Waits until the engine has stopped dialling, because the peer denied us. Says when an attempt
/// has failed.
async fn denied(events: &mut MonitorStream, failed: impl Fn()) {
    loop {
        match events.recv().await {
            Ok(MonitorEvent::ConnectStopped {
                reason: DisconnectReason::HandshakeRefused(_),
                ..
            }) => return,
            Ok(MonitorEvent::ConnectDelayed { .. }) => failed(),
            // The socket is closed, which others tell.
            Err(MonitorRecvError::Closed) => return std::future::pending().await,
            _ => {}
        }
    }
}

fn failed(error: omq_tokio::Error) -> Error {
    match error {
        omq_tokio::Error::Closed => closed(),
        omq_tokio::Error::Unroutable => caller_gone(),
        omq_tokio::Error::Config(because) => {
            config("the engine refuses an option").with("because", because)
        }
        other => Error::new(ErrorKind::Disconnected, "the socket failed").with_source(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(count: usize) -> Message {
        Message::multipart((0..count).map(|_| Bytes::new()))
    }

    #[test]
    fn a_body_of_too_many_frames_is_cut_one_beyond_the_limit() {
        for (count, frames) in [(2, 1), (65, 64), (66, 65), (67, 65), (1000, 65)] {
            let body = frames_of(parts(count), 64).body.unwrap();
            assert_eq!(body.frames().len(), frames, "of {count} parts");
        }
        assert_eq!(frames_of(parts(1), 64).body, None);
        assert_eq!(given_back(parts(1000)).body.unwrap().frames().len(), 999);
    }

    #[test]
    fn a_million_empty_parts_do_not_hold_up_the_reader() {
        // Taken off the front one by one, they would take hours.
        let frames = frames_of(parts(1_000_000), 64);
        assert_eq!(frames.body.unwrap().frames().len(), 65);
    }
}
