//! The relay between a peer and a socket of the crate.
//!
//! The crate does what it can: framing, subscriptions, queues. The relay does what it lacks: bounds
//! on what a peer sends, heartbeats, and the loss of a connection that nothing is sent to.
//!
//! All of a relay runs in the task of its link: one future for each direction, and the watch over
//! the peer. The futures share the state by atomics and short locks, of which none is held across
//! an await.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::inbound_filter::{InboundEvent, InboundFilter};
use super::outbound_filter::OutboundFilter;
use super::outbox::Outbox;
use super::socket_kind::SocketKind;
use super::zmtp::{Ready, write_command};
use crate::lock::lock;

/// The state that both directions of a relay share.
#[derive(Debug)]
pub(super) struct Relay {
    kind: SocketKind,
    /// The bound on a message of the peer in bytes, with 64 for each frame.
    message_max: usize,
    /// The silence after which a subscriber is given up, and which it announces itself.
    silence_max: Duration,
    /// The minor version of the peer.
    ///
    /// 0 until the greeting has come. Commands of ZMTP 3.1 are sent from 1 on.
    minor: AtomicU8,
    /// The READY command of the peer.
    ///
    /// Set once, when the handshake of the peer is complete.
    ready: watch::Sender<Option<Ready>>,
    /// The answer to the latest heartbeat of the peer, and our own heartbeat. One of each at most.
    pong: Mutex<Option<BytesMut>>,
    /// Set when a heartbeat is to be sent.
    ping: AtomicBool,
    /// Signals that a heartbeat or an answer is to be sent.
    commands: Notify,
    /// The moment of the last byte from the peer, or since which the relay waits for one.
    heard: Mutex<Instant>,
    /// The moment at which our last heartbeat had been written, unless bytes came after it.
    asked: Mutex<Option<Instant>>,
    /// The silence that the peer has announced for its own death, unless messages came after it.
    ttl: Mutex<Option<Duration>>,
    /// Set while the crate has no room for bytes of the peer, and the relay reads none.
    is_blocked: AtomicBool,
    /// Set when the crate had no room for a while, until the watch has seen it.
    was_blocked: AtomicBool,
    /// Set when nothing more is to be read from the peer.
    stopped: watch::Sender<bool>,
}

/// Bytes read at a time: 64 KiB.
const CHUNK: usize = 64 << 10;

impl Relay {
    /// Creates the state of a new connection.
    pub(super) fn new(kind: SocketKind, message_max: usize, silence_max: Duration) -> Self {
        Self {
            kind,
            message_max,
            silence_max,
            minor: AtomicU8::new(0),
            ready: watch::Sender::new(None),
            pong: Mutex::default(),
            ping: AtomicBool::new(false),
            commands: Notify::new(),
            heard: Mutex::new(Instant::now()),
            asked: Mutex::default(),
            ttl: Mutex::default(),
            is_blocked: AtomicBool::new(false),
            was_blocked: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
        }
    }

    /// Returns the READY command of the peer, once it has come.
    pub(super) fn ready(&self) -> Option<Ready> {
        self.ready.borrow().clone()
    }

    /// Stops reading from the peer. What was read before is still handed over.
    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Hands the bytes of the peer to the crate until the peer closes the connection or breaks a
    /// rule, or the relay is stopped. Then the crate reads the end of the stream. Returns the error
    /// of a connection that was cut, all of whose bytes are handed over by then.
    ///
    /// Reading waits while the crate has no room, so that the peer has to wait, too. Dropping the
    /// future loses the bytes that were read and not handed over.
    ///
    /// # Errors
    ///
    /// The rule that the peer has broken, or the failure to hand over the end.
    pub(super) async fn receive(
        &self,
        mut peer: impl AsyncRead + Unpin,
        mut inner: impl AsyncWrite + Unpin,
    ) -> Result<Option<String>, String> {
        let mut filter = InboundFilter::new(self.kind, self.message_max);
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let (mut events, mut discards) = (Vec::new(), false);
        let mut stopped = self.stopped.subscribe();
        loop {
            input.reserve(CHUNK);
            *lock(&self.heard) = Instant::now();
            let read = tokio::select! {
                read = peer.read_buf(&mut input) => read,
                // Never an error: `self` holds the sender.
                _ = stopped.wait_for(|stopped| *stopped) => Ok(0),
            };
            if !matches!(read, Ok(1..)) {
                if !discards {
                    inner.shutdown().await.map_err(text)?;
                }
                return Ok(read.err().map(text));
            }
            // Any bytes prove that the peer is there. Its answer may be far behind them.
            *lock(&self.asked) = None;
            filter.feed(&mut input, &mut output, &mut events)?;
            if !output.is_empty() {
                // A peer that sends messages need not send heartbeats.
                *lock(&self.ttl) = None;
            }
            events.drain(..).for_each(|event| self.record(event));
            // The bytes are read even if the crate takes no more: the kernel would otherwise reset
            // the connection, with what the peer has not read yet.
            discards = discards || self.forward(&mut inner, &output).await.is_err();
            output.clear();
        }
    }

    /// Writes bytes of the peer to the crate, and notes if the crate has no room for them.
    ///
    /// An error means that the crate has closed its end.
    async fn forward(&self, inner: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        let mut writing = pin!(inner.write_all(bytes));
        if let Some(written) = writing.as_mut().now_or_never() {
            return written;
        }
        self.is_blocked.store(true, Ordering::Relaxed);
        self.was_blocked.store(true, Ordering::Relaxed);
        let written = writing.await;
        // The answer of the peer may be among the bytes that were not read meanwhile.
        *lock(&self.asked) = None;
        self.is_blocked.store(false, Ordering::Relaxed);
        written
    }

    /// Applies an event of the filter: the version, the READY command, or a heartbeat to be
    /// answered.
    fn record(&self, event: InboundEvent) {
        match event {
            InboundEvent::Greeted(minor) => self.minor.store(minor, Ordering::Relaxed),
            InboundEvent::Ready(ready) => drop(self.ready.send_replace(Some(ready))),
            InboundEvent::Ping { ttl, context } => {
                *lock(&self.ttl) = Some(ttl).filter(|ttl| !ttl.is_zero());
                let mut pong = BytesMut::new();
                write_command(&mut pong, b"PONG", &context);
                // An unsent answer is replaced: a peer may send heartbeats and read no answers.
                *lock(&self.pong) = Some(pong);
                self.commands.notify_one();
            }
        }
    }

    /// Hands the bytes of the crate to the peer until the crate closes its stream. The queue of
    /// the link learns how many messages have been written.
    ///
    /// If the peer takes no more bytes, the rest is dropped until the crate closes its stream. The
    /// crate would drop unread messages of the peer if it noticed.
    ///
    /// Heartbeats and answers to them are sent between two messages only.
    ///
    /// # Errors
    ///
    /// The reason why the peer takes no more bytes.
    pub(super) async fn send(
        &self,
        mut inner: impl AsyncRead + Unpin,
        mut peer: impl AsyncWrite + Unpin,
        outbox: &Outbox,
    ) -> Result<(), String> {
        let mut filter = OutboundFilter::new(self.kind);
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        let mut commands = BytesMut::new();
        loop {
            input.reserve(CHUNK);
            let read = tokio::select! {
                read = inner.read_buf(&mut input) => Some(read.map_err(text)?),
                () = self.commands.notified(), if commands.is_empty() => None,
            };
            if read == Some(0) {
                break;
            }
            let pings = self.take_commands(&mut commands);
            let minor = self.minor.load(Ordering::Relaxed);
            let ends = filter.feed(&mut input, &mut output, &mut commands, minor);
            if let Err(error) = write_counted(&mut peer, &output, ends, outbox).await {
                if self.kind.drains() {
                    discard(&mut inner, outbox).await;
                }
                return Err(text(error));
            }
            output.clear();
            if pings {
                *lock(&self.asked) = Some(Instant::now());
            }
        }
        peer.shutdown().await.map_err(text)
    }

    /// Adds the commands that are to be sent. Returns whether a heartbeat is among them.
    ///
    /// The heartbeat of a subscriber announces the silence after which the subscriber is dead, so
    /// that a publisher which cannot write notices. Others announce 0, which is no bound. None has
    /// a context.
    fn take_commands(&self, commands: &mut BytesMut) -> bool {
        if let Some(pong) = lock(&self.pong).take() {
            commands.extend_from_slice(&pong);
        }
        let pings = self.ping.swap(false, Ordering::Relaxed);
        if pings {
            let tenths = match self.kind {
                SocketKind::XSub => self.silence_max.as_millis() / 100,
                _ => 0,
            };
            let tenths = u16::try_from(tenths).unwrap_or(u16::MAX);
            write_command(commands, b"PING", &tenths.to_be_bytes());
        }
        pings
    }

    /// Sends heartbeats to a silent peer, and a subscriber at least one in each interval. Resolves
    /// when the peer has answered none for one more interval, or a subscriber for six, or when the
    /// peer has been silent for as long as it has announced.
    ///
    /// A puller gets no heartbeats. A peer whose bytes the relay cannot hand over is not silent,
    /// and gets heartbeats as well: the answers to its own wait behind those bytes. A peer that
    /// takes no more bytes is not asked, since the heartbeat is behind them; the kernel reports
    /// when it is gone.
    ///
    /// The state of the peer is checked eight times in an interval. A dead peer is reported a
    /// little more than two intervals after its last byte. A peer of ZMTP 3.0 is never reported.
    ///
    /// The result is the reason for the end of the link. Cancel safe.
    pub(super) async fn watch(&self, interval: Duration) -> String {
        let (mut shown, mut is_suspect, mut was_late) = (Instant::now(), false, false);
        // A subscriber that is busy answers nothing, and sends heartbeats of its own.
        let patience = if self.kind == SocketKind::XPub { self.silence_max } else { interval };
        loop {
            sleep(interval / 8).await;
            // Peers of version 3.0 know no heartbeats.
            if self.minor.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let was_blocked = self.was_blocked.swap(false, Ordering::Relaxed);
            if self.is_blocked.load(Ordering::Relaxed) || was_blocked {
                is_suspect = false;
                if shown.elapsed() >= interval / 2 {
                    self.send_heartbeat();
                    shown = Instant::now();
                }
                continue;
            }
            let silence = lock(&self.heard).elapsed();
            let is_late = lock(&self.ttl).is_some_and(|ttl| silence >= ttl);
            if std::mem::replace(&mut was_late, is_late) && is_late {
                return "the peer is silent for longer than it has announced".to_owned();
            }
            if !self.kind.is_answered() {
                continue;
            }
            let is_due = self.kind == SocketKind::XSub && shown.elapsed() >= interval;
            match *lock(&self.asked) {
                Some(asked) if asked.elapsed() < patience => is_suspect = false,
                // Once more, since a busy runtime may not have read the answer yet.
                Some(_) if !is_suspect => is_suspect = true,
                Some(_) => return "the peer answers no heartbeat".to_owned(),
                None if is_due || silence >= interval => {
                    self.send_heartbeat();
                    shown = Instant::now();
                }
                None => is_suspect = false,
            }
        }
    }

    /// Requests a heartbeat. Requests that come before the next write are one.
    fn send_heartbeat(&self) {
        self.ping.store(true, Ordering::Relaxed);
        self.commands.notify_one();
    }
}

/// Reads and drops all that the crate sends, until it closes its stream.
///
/// All messages count as written, so that the outbox goes on and comes to its end.
async fn discard(inner: &mut (impl AsyncRead + Unpin), outbox: &Outbox) {
    let mut dropped = BytesMut::with_capacity(CHUNK);
    outbox.record_written(usize::MAX);
    while inner.read_buf(&mut dropped).await.is_ok_and(|count| count > 0) {
        outbox.record_written(usize::MAX);
        dropped.clear();
    }
}

/// Writes bytes, and records each message as soon as its last byte is written: a message that a
/// lost peer may have received must not go to another one.
///
/// `ends` are the positions in `bytes` behind each message. A message whose bytes are written in
/// part is not recorded.
async fn write_counted(
    mut peer: impl AsyncWrite + Unpin,
    bytes: &[u8],
    mut ends: VecDeque<usize>,
    outbox: &Outbox,
) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match peer.write(&bytes[written..]).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => written += count,
        }
        let whole = ends.iter().take_while(|end| **end <= written).count();
        ends.drain(..whole);
        outbox.record_written(whole);
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "the signature of `map_err`")]
fn text(error: io::Error) -> String {
    error.to_string()
}
