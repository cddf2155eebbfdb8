//! A connection to one peer, with a socket of the crate and a relay of its own.
//!
//! The crate does not reconnect, gives a peer's place to another one of the same identity, and
//! spreads messages without reporting who got them. With one peer a socket, this has no effect.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use zeromq::{SocketEvent, ZmqMessage};

use super::inner_listener::InnerListener;
use super::one_peer_socket::{self, OnePeerSocket, OnePeerSocketEvents};
use super::outbox::Outbox;
use super::relay::Relay;
use super::socket_kind::SocketKind;
use super::streams::PeerStream;
use crate::endpoint::OwnIdentity;
use crate::engine::connected_peer_counts::{CLOSED_IN_HANDSHAKE, Host};
use crate::lock::lock;

/// The part of a socket that takes up its links and their messages.
///
/// The methods run in the task of the link, or at the drop of that task, with no lock of the link
/// set held. An implementation must not block.
pub(super) trait LinkOwner: Send + Sync {
    /// Takes up a link whose handshake has ended, before its first message. Returns the reason if
    /// the peer may not stay.
    ///
    /// The link is not among the open ones yet. An error ends the link, and [`ended`](Self::ended)
    /// is not called for it.
    fn opened(&self, _: &Arc<Link>) -> Result<(), String> {
        Ok(())
    }

    /// Takes a message, if the set of links has no queue for arrivals.
    ///
    /// Called for XPUB sockets only: a PUSH socket has no queue either, and receives nothing.
    fn received(&self, _: &Arc<Link>, _: ZmqMessage) {}

    /// Learns of the end of a link that was opened.
    ///
    /// The outbox has ended by then, and the link has left the open ones. Waiters for the end of
    /// the link follow.
    fn ended(&self, _: &Arc<Link>) {}
}

/// A message, and the link that it came by.
pub(super) type Arrival = (Arc<Link>, ZmqMessage);

/// A connection, from its handshake to its end.
///
/// The link set holds the link until its end, and its task until it returns. Handles may keep the
/// value longer.
#[derive(Debug)]
pub(super) struct Link {
    /// Never used twice in this process.
    pub(super) number: u64,
    /// The remote address, or the endpoint of a socket file.
    pub(super) name: String,
    /// The endpoint of this side that the connection was made through.
    pub(super) endpoint: String,
    /// The host of a peer that has connected. `None` for other peers, and for socket files.
    pub(super) host: Option<Host>,
    /// Set for a peer that has connected to this side.
    pub(super) is_inbound: bool,
    /// The routing id that the peer has announced.
    pub(super) identity: OnceLock<Bytes>,
    /// The messages to send.
    pub(super) outbox: Outbox,
    pub(super) relay: Relay,
    /// The state, which only the link set changes.
    pub(super) state: watch::Sender<LinkState>,
    /// The reason of the end, for the log.
    ///
    /// The first reason counts. `None` after an orderly end, such as a close by the peer.
    pub(super) reason: Mutex<Option<String>>,
    /// The task of the link. Set right after the start.
    pub(super) task: OnceLock<AbortHandle>,
}

/// The state of a link.
///
/// The states follow in this order. A failed handshake skips `Open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The connection is made, and no message has reached the owner.
    Handshake,
    /// The owner has the link, and messages move.
    Open,
    /// The task has returned or was aborted, and its streams are closed.
    Ended,
}

/// The rules of the links of a socket.
#[derive(Clone, Debug)]
pub(super) struct LinkRules {
    pub(super) kind: SocketKind,
    /// The routing id that the peers see.
    pub(super) identity: Bytes,
    /// The bound on a handshake, without the time to open the inner connection.
    pub(super) handshake_timeout: Duration,
    /// The silence after which a peer is asked, see [`Relay::watch`].
    pub(super) heartbeat: Duration,
    /// The silence of six heartbeats, see [`Settings::silence_max`](crate::config::Settings).
    pub(super) silence_max: Duration,
    /// The time in which a peer takes no bytes, see [`SocketKind::unread_max`].
    pub(super) unread_max: Option<Duration>,
}

/// The time for the peer to close a connection that this side has finished: 200 ms.
const FINISH_PATIENCE: Duration = Duration::from_millis(200);

impl Link {
    /// Ends the link at once.
    ///
    /// Queued messages are not sent. Does not wait; [`wait_end`](Self::wait_end) does. A link
    /// without a task yet is ended as soon as it has one.
    pub(super) fn cut(&self, reason: &str) {
        lock(&self.reason).get_or_insert_with(|| reason.to_owned());
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Returns whether the peer counts for the bounds on connections: it has connected to this
    /// side, and is no own client. Known after the handshake.
    pub(super) fn is_counted(&self) -> bool {
        let is_own = |identity: &Bytes| OwnIdentity::is_own(identity);
        self.is_inbound && !self.identity.get().is_some_and(is_own)
    }

    /// Waits until the handshake has succeeded, or returns the reason of its failure.
    ///
    /// A link that was open and has ended by the time of the call counts as failed. Cancel safe.
    pub(super) async fn wait_open(&self) -> Result<(), String> {
        let mut state = self.state.subscribe();
        // Never an error: `self` holds the sender.
        let state = state.wait_for(|state| *state != LinkState::Handshake).await;
        match state.map(|state| *state) {
            Ok(LinkState::Open) => Ok(()),
            _ => Err(lock(&self.reason).clone().unwrap_or_default()),
        }
    }

    /// Waits until the link has ended.
    ///
    /// The owner has been notified by then. Cancel safe.
    pub(super) async fn wait_end(&self) {
        // Never an error: `self` holds the sender.
        let _ = self.state.subscribe().wait_for(|state| *state == LinkState::Ended).await;
    }
}

/// Makes the handshake, calls `opened`, and moves messages until the end of the link. Dropping the
/// future closes both connections at once.
///
/// The order is: listen for the socket of the crate, connect that socket, relay the handshake, call
/// `opened`, then exchange messages. A handshake that takes longer than the bound fails.
///
/// The link ends with the connection of the peer or of the crate. Once an ended outbox is written,
/// the peer has 200 ms to close its side.
///
/// # Errors
///
/// The reason of an end that neither side has asked for.
pub(super) async fn run(
    link: &Arc<Link>,
    rules: &LinkRules,
    owner: &dyn LinkOwner,
    arrivals: Option<mpsc::Sender<Arrival>>,
    stream: PeerStream,
    opened: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let (peer_read, peer_write) = stream.split();
    let listener = InnerListener::bind().await.map_err(|error| error.to_string())?;
    let (mut socket, events) = one_peer_socket::open(rules.kind, &rules.identity);
    let (mut is_received, mut is_lost) = (false, false);
    let (mut receiving, mut sending) = {
        let connecting = socket.connect(listener.endpoint());
        tokio::pin!(connecting);
        let inner = tokio::select! {
            inner = listener.accept() => inner.map_err(|error| error.to_string())?,
            failed = &mut connecting => return Err(format!("{failed:?}")),
        };
        let (inner_read, inner_write) = inner.into_split();
        let mut receiving = Box::pin(link.relay.receive(peer_read, inner_write));
        let mut sending = Box::pin(link.relay.send(inner_read, peer_write, &link.outbox));
        let handshake = async {
            loop {
                tokio::select! {
                    connected = &mut connecting => {
                        return connected.map_err(|error| error.to_string());
                    }
                    // The peer may have sent a message and left already.
                    received = &mut receiving, if !is_received => {
                        let cut = received?;
                        (is_received, is_lost) = (true, true);
                        if let Some(cut) = cut {
                            return Err(cut);
                        }
                    }
                    sent = &mut sending => {
                        is_lost = sent.is_err();
                        return sent.and(Err("the socket was closed".to_owned()));
                    }
                }
            }
        };
        match timeout(rules.handshake_timeout, handshake).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) if is_lost && link.relay.ready().is_none() => {
                let closed = match link.is_inbound {
                    true => "the peer closed the connection in the handshake",
                    false => CLOSED_IN_HANDSHAKE,
                };
                return Err(closed.to_owned());
            }
            Ok(Err(reason)) => return Err(reason),
            Err(_) => return Err("the handshake took too long".to_owned()),
        }
        (receiving, sending)
    };
    drop(listener);
    let ready = link.relay.ready().ok_or("the peer is not ready")?;
    // Set once, here.
    let _ = link.identity.set(ready.identity);
    opened()?;

    let exchanging = exchange(link, owner, socket, events, arrivals);
    let watching = link.relay.watch(rules.heartbeat);
    tokio::pin!(exchanging, watching);
    let (mut is_exchanged, mut finish_by, mut cut) = (false, None, None);
    if is_received && !rules.kind.drains() {
        return Ok(());
    }
    loop {
        tokio::select! {
            ended = &mut exchanging, if !is_exchanged => match ended {
                Ended::Finished => is_exchanged = true,
                Ended::Lost(reason) => return cut.or(reason).map_or(Ok(()), Err),
            },
            received = &mut receiving, if !is_received => {
                cut = received?.or(cut);
                is_received = true;
                // Otherwise the crate has messages to read.
                if is_exchanged || !rules.kind.drains() {
                    return cut.map_or(Ok(()), Err);
                }
            }
            sent = &mut sending, if finish_by.is_none() => {
                if let Err(reason) = sent {
                    if !is_received && !rules.kind.drains() {
                        return Err(reason);
                    }
                    cut.get_or_insert(reason);
                }
                finish_by = Some(Instant::now() + FINISH_PATIENCE);
            }
            () = at(finish_by), if is_exchanged => return Ok(()),
            // A peer that has ended answers no heartbeat.
            reason = &mut watching, if !is_received => return Err(reason),
        }
    }
}

/// Waits until this moment, or without an end.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The end of the messages of a link.
enum Ended {
    /// The outbox has ended, and the crate has everything.
    Finished,
    /// The crate has lost the connection, for this reason.
    Lost(Option<String>),
}

/// Moves messages between the socket of the crate, the outbox and the owner. Drops the socket at
/// the end, which then sends what it holds.
///
/// A message that arrives while the queue is full is held, and no other is read until there is
/// room. Sending goes on meanwhile.
async fn exchange(
    link: &Arc<Link>,
    owner: &dyn LinkOwner,
    mut socket: Box<dyn OnePeerSocket>,
    mut events: OnePeerSocketEvents,
    arrivals: Option<mpsc::Sender<Arrival>>,
) -> Ended {
    let mut arrived = None;
    loop {
        tokio::select! {
            message = socket.recv(), if arrived.is_none() => match message {
                Ok(message) if arrivals.is_some() => arrived = Some(message),
                Ok(message) => owner.received(link, message),
                Err(error) => return Ended::Lost(Some(error.to_string())),
            },
            permit = reserve(arrivals.as_ref()), if arrived.is_some() => match (permit, arrived.take()) {
                (Some(permit), Some(message)) => permit.send((link.clone(), message)),
                _ => return Ended::Lost(None),
            },
            next = link.outbox.next() => match next {
                Some(message) => {
                    if let Err(error) = socket.send(message).await {
                        return Ended::Lost(Some(error.to_string()));
                    }
                }
                None => return Ended::Finished,
            },
            event = events.next(), if arrived.is_none() => if let None | Some(SocketEvent::Disconnected(_)) = event {
                return Ended::Lost(None);
            },
        }
    }
}

/// Waits for a place among the arrivals. `None` if the receiver is gone.
async fn reserve(arrivals: Option<&mpsc::Sender<Arrival>>) -> Option<mpsc::Permit<'_, Arrival>> {
    arrivals?.reserve().await.ok()
}
