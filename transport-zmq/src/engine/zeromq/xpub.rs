//! XPUB: events to all subscribers, their subscriptions and their sync markers.
//!
//! Each subscriber has a link with an XPUB socket of the crate. An event is queued for each link
//! whose subscriptions match.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::Result;
use polywire_core::transport::Sending;
use tokio::sync::mpsc;
use zeromq::ZmqMessage;

use super::frame_conversion::message_under;
use super::link::{Link, LinkOwner};
use super::link_set::LinkSet;
use super::link_set_options::LinkSetOptions;
use super::linked_endpoints::LinkedEndpoints;
use super::socket_kind::SocketKind;
use super::subscribers::Subscribers;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::endpoint::{EndpointChange, RefusingPeers};
use crate::engine::{ByteBudget, SocketControl, XPub};
use crate::lock::lock;
use crate::security::Admission;
use crate::wire::{Frames, SyncMarker};

/// An XPUB socket. A subscriber without room delays the publisher, and with it all other
/// subscribers: nothing is dropped.
pub(in crate::engine) struct ZeromqXPub {
    /// The links, and the endpoints that the socket binds or connects to.
    endpoints: LinkedEndpoints,
    events: Arc<Events>,
    /// Unsent bytes for all subscribers together: they share the memory of a message.
    budget: Arc<ByteBudget>,
    /// The sync markers that arrive, until `sync_markers` takes them.
    markers: Mutex<Option<mpsc::Receiver<(SyncMarker, u32)>>>,
}

/// The subscribers, and the queue of their sync markers.
struct Events {
    /// The subscribers. Locks of outboxes are taken within this lock.
    subscribers: Mutex<Subscribers>,
    /// The sender of sync markers, until the socket is closed.
    markers: Mutex<Option<mpsc::Sender<(SyncMarker, u32)>>>,
    /// The links, to signal that a subscriber has sent its first sync marker.
    set: OnceLock<Weak<LinkSet>>,
    /// The bounds of inbound peers. Subscribers learn that on subscriptions from an answer.
    admission: Admission,
}

/// Sync markers that wait for an answer: 4,096. A subscriber without an answer sends another.
const MARKERS_MAX: usize = 4096;

impl ZeromqXPub {
    /// Opens the socket. It has no endpoint yet.
    pub(in crate::engine) fn open(settings: &Settings) -> Self {
        let (sender, markers) = mpsc::channel(MARKERS_MAX);
        let events = Arc::new(Events {
            subscribers: Mutex::default(),
            markers: Mutex::new(Some(sender)),
            set: OnceLock::new(),
            admission: settings.admission,
        });
        let (set, _) = LinkSet::new(settings, LinkSetOptions::of(SocketKind::XPub), events.clone());
        // Set once, here.
        let _ = events.set.set(Arc::downgrade(&set));
        Self {
            endpoints: LinkedEndpoints::new(settings, set),
            events,
            budget: ByteBudget::new(settings.peer_bytes_max),
            markers: Mutex::new(Some(markers)),
        }
    }

    /// Counts and sends a message, at once if all its subscribers have room.
    ///
    /// An event is counted before it is sent, and until its last link has dropped it. Dropping the
    /// returned value before it resolves drops a waiting event.
    fn send_counted(&self, first: Bytes, frames: Frames) -> Sending<'_> {
        let message = message_under(first.clone(), self.budget.count(frames));
        if self.events.try_send(&first, &message) {
            return Sending::ready(Ok(()));
        }
        Sending::later(async move {
            while !self.events.try_send(&first, &message) {
                // Bounded by the subscribers that have no room now. Those that get room meanwhile
                // may lose it to another event.
                for link in self.events.full(&first) {
                    link.outbox.room().await;
                }
                if self.endpoints.set.is_closed() {
                    return Err(closed());
                }
                tokio::task::coop::consume_budget().await;
            }
            Ok(())
        })
    }
}

impl Events {
    /// Sends a message to all its subscribers, or to none if one of them has no room.
    ///
    /// Without subscribers, the message is dropped and counts as sent.
    fn try_send(&self, first: &Bytes, message: &ZmqMessage) -> bool {
        // The lock is held, so that all events reach all subscribers in one order, and no other
        // sender takes the room.
        let subscribers = lock(&self.subscribers);
        let links: Vec<_> = subscribers.of(first).collect();
        if links.iter().any(|link| link.outbox.is_full()) {
            return false;
        }
        // One that has ended in between gets nothing.
        links.iter().for_each(|link| _ = link.outbox.try_push(|| message.clone()));
        true
    }

    /// Returns the subscribers of a message that have no room.
    fn full(&self, first: &Bytes) -> Vec<Arc<Link>> {
        let subscribers = lock(&self.subscribers);
        subscribers.of(first).filter(|link| link.outbox.is_full()).cloned().collect()
    }
}

impl LinkOwner for Events {
    fn opened(&self, link: &Arc<Link>) -> Result<(), String> {
        lock(&self.subscribers).add(link.clone());
        Ok(())
    }

    /// Reads a subscription or the end of one. Any other message is ignored.
    ///
    /// Subscriptions of an inbound peer are ignored beyond the tolerated number, and disconnect the
    /// peer far beyond. A sync marker goes to the queue of markers, with the number of subscribers
    /// that have it.
    fn received(&self, link: &Arc<Link>, message: ZmqMessage) {
        let Some(frame) = message.get(0).filter(|_| message.len() == 1) else { return };
        let marker = {
            let mut subscribers = lock(&self.subscribers);
            match frame.split_first() {
                Some((1, _)) => {
                    let prefix = frame.slice(1..);
                    // A peer that this side has connected to may not know of any bound.
                    let (tolerated, sent_max) = match link.is_inbound {
                        true => (
                            self.admission.subscriptions_tolerated(),
                            self.admission.subscriptions_sent_max(),
                        ),
                        false => (usize::MAX, usize::MAX),
                    };
                    if subscribers.subscribe(link.number, &prefix, tolerated) > sent_max {
                        return link
                            .cut("the peer has too many subscriptions (`subscriptions_max`)");
                    }
                    SyncMarker::read(&prefix).map(|marker| (marker, subscribers.count(&prefix)))
                }
                Some((0, prefix)) => {
                    subscribers.unsubscribe(link.number, prefix);
                    None
                }
                _ => None,
            }
        };
        let Some(marker) = marker else { return };
        if let Some(markers) = &*lock(&self.markers) {
            // Without room, the subscriber sends another one.
            let _ = markers.try_send(marker);
        }
        if let Some(set) = self.set.get().and_then(Weak::upgrade) {
            set.notify_changed();
        }
    }

    fn ended(&self, link: &Arc<Link>) {
        lock(&self.subscribers).remove(link.number);
    }
}

#[async_trait]
impl SocketControl for ZeromqXPub {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        self.endpoints.change(change).await
    }

    fn peer_counts(&self) -> BoxStream<'static, usize> {
        self.endpoints.peer_counts()
    }

    fn refusals(&self) -> RefusingPeers {
        self.endpoints.refusals()
    }

    /// Ends the stream of sync markers. The future sends the queued events, for the linger time at
    /// most.
    fn close(&self) -> BoxFuture<'static, ()> {
        lock(&self.events.markers).take();
        self.endpoints.close()
    }
}

#[async_trait]
impl XPub for ZeromqXPub {
    /// Sends an event. A large one waits while the budget is used up, since the slowest subscriber
    /// has not read what was sent before.
    fn send(&self, first: Bytes, frames: Frames) -> Sending<'_> {
        if self.endpoints.set.is_closed() {
            return Sending::ready(Err(closed()));
        }
        // As with replies, small messages do not wait for large ones.
        if !self.budget.is_exhausted() || self.budget.is_small(&frames) {
            return self.send_counted(first, frames);
        }
        Sending::later(async move {
            self.budget.available().await;
            self.send_counted(first, frames).await
        })
    }

    /// Returns the sync markers that arrive. A second call returns an empty stream.
    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)> {
        let Some(markers) = lock(&self.markers).take() else { return stream::empty().boxed() };
        let markers = stream::unfold(markers, |mut markers| async {
            markers.recv().await.map(|marker| (marker, markers))
        });
        markers.boxed()
    }

    /// Returns the bound that subscribers learn, while an endpoint is bound.
    fn subscriptions_max(&self) -> Option<usize> {
        self.endpoints.listens().then_some(self.events.admission.subscriptions_max)
    }

    /// Waits until the subscriber at each connected endpoint has sent a sync marker, which follows
    /// its subscriptions.
    async fn ready(&self) {
        let is_ready = |endpoint: &str| {
            let subscribers = lock(&self.events.subscribers);
            let mut synced = subscribers.synced();
            synced.any(|link| link.endpoint == endpoint)
        };
        self.endpoints.ready(is_ready).await;
    }
}
