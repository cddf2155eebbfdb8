//! SUB: subscriptions to all publishers, and their events.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::{Result, Window};
use tokio::sync::mpsc;
use zeromq::ZmqMessage;

use super::arrival_stream::received;
use super::frame_conversion::event_of;
use super::link::{Arrival, Link, LinkOwner};
use super::link_set::LinkSet;
use super::link_set_options::{LinkSetOptions, QUEUED_MAX};
use super::linked_endpoints::LinkedEndpoints;
use super::socket_kind::SocketKind;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::engine::{HasEndpoints, Sub};
use crate::lock::lock;
use crate::wire::Frames;

/// A SUB socket. Each link is an XSUB socket of the crate, which takes subscriptions as messages:
/// the SUB socket of the crate takes only text, and forgets the order.
///
/// All subscriptions are queued for each new link, in their order, before its first event is read.
pub(in crate::engine) struct ZeromqSub {
    /// The links, and the endpoints that the socket binds or connects to.
    endpoints: LinkedEndpoints,
    subscriptions: Arc<Subscriptions>,
    /// The events that arrive, until `messages` takes them.
    arrivals: Mutex<Option<mpsc::Receiver<Arrival>>>,
    /// Frames that the body of an event may have. The decoder rejects a body with more.
    frames_max: usize,
}

/// The subscriptions, and the links that have them. One lock, so that each publisher gets all of
/// them in one order.
#[derive(Default)]
struct Subscriptions(Mutex<State>);

/// The state behind the lock. Locks of outboxes are taken within.
#[derive(Default)]
struct State {
    /// The prefixes in the order of their first subscription, each with its number. Bounded by the
    /// subscriber.
    prefixes: Vec<(Bytes, usize)>,
    /// The open links.
    links: Vec<Arc<Link>>,
}

/// The first byte of a subscription.
const SUBSCRIBE: u8 = 1;
/// The first byte of the end of a subscription.
const UNSUBSCRIBE: u8 = 0;

impl ZeromqSub {
    /// Opens the socket. It has no endpoint yet.
    ///
    /// `window` bounds the events that wait for the reader, those of all publishers together; at
    /// most 1,000.
    pub(in crate::engine) fn open(settings: &Settings, window: Window) -> Self {
        let subscriptions = Arc::<Subscriptions>::default();
        let arrivals_max = Some(window.messages().min(QUEUED_MAX));
        let options = LinkSetOptions { arrivals_max, ..LinkSetOptions::of(SocketKind::XSub) };
        let (set, arrivals) = LinkSet::new(settings, options, subscriptions.clone());
        Self {
            endpoints: LinkedEndpoints::new(settings, set),
            subscriptions,
            arrivals: Mutex::new(arrivals),
            frames_max: settings.limits.frames_max,
        }
    }

    /// Makes a change under the lock. Fails with `Closed` once the socket is closed.
    fn change_subscriptions(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        if self.endpoints.set.is_closed() {
            return Err(closed());
        }
        change(&mut lock(&self.subscriptions.0));
        Ok(())
    }
}

impl State {
    /// Sends the beginning or the end of a subscription to all publishers.
    ///
    /// Does not wait for room: the number of subscriptions is bounded by the subscriber.
    fn send_to_all(&self, kind: u8, prefix: &[u8]) {
        let message = subscription(kind, prefix);
        self.links.iter().for_each(|link| link.outbox.push_all([message.clone()]));
    }
}

/// Makes the message of a subscription as in ZMTP 3.0: a byte for the kind, then the prefix.
fn subscription(kind: u8, prefix: &[u8]) -> ZmqMessage {
    ZmqMessage::from([&[kind], prefix].concat())
}

impl LinkOwner for Subscriptions {
    fn opened(&self, link: &Arc<Link>) -> Result<(), String> {
        let mut state = lock(&self.0);
        let all = state.prefixes.iter().map(|(prefix, _)| subscription(SUBSCRIBE, prefix));
        link.outbox.push_all(all);
        state.links.push(link.clone());
        Ok(())
    }

    fn ended(&self, link: &Arc<Link>) {
        lock(&self.0).links.retain(|other| other.number != link.number);
    }
}

impl HasEndpoints for ZeromqSub {
    type Endpoints = LinkedEndpoints;

    fn endpoints(&self) -> &LinkedEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl Sub for ZeromqSub {
    /// Counts a subscription. Only the first one for a prefix is sent.
    async fn subscribe(&self, prefix: Bytes) -> Result<()> {
        self.change_subscriptions(|state| {
            if let Some((_, count)) = state.prefixes.iter_mut().find(|(held, _)| *held == prefix) {
                *count += 1;
                return;
            }
            state.send_to_all(SUBSCRIBE, &prefix);
            state.prefixes.push((prefix, 1));
        })
    }

    /// Counts a subscription down. The end of the last one for a prefix is sent.
    async fn unsubscribe(&self, prefix: Bytes) -> Result<()> {
        self.change_subscriptions(|state| {
            let Some(at) = state.prefixes.iter().position(|(held, _)| *held == prefix) else {
                return;
            };
            state.prefixes[at].1 -= 1;
            if state.prefixes[at].1 == 0 {
                state.prefixes.remove(at);
                state.send_to_all(UNSUBSCRIBE, &prefix);
            }
        })
    }

    /// Returns the events of all publishers. Events of one publisher keep their order. A second
    /// call returns an empty stream.
    fn messages(&self) -> BoxStream<'static, (Bytes, Frames)> {
        let frames_max = self.frames_max;
        let Some(arrivals) = lock(&self.arrivals).take() else { return stream::empty().boxed() };
        received(arrivals).map(move |(_, message)| event_of(message, frames_max)).boxed()
    }

    fn stop(&self) {
        self.endpoints.stop();
    }

    /// Waits until each connected endpoint has an open link, or its first attempt has failed.
    async fn ready(&self) {
        let set = &self.endpoints.set;
        let is_ready = |endpoint: &str| set.links().iter().any(|link| link.endpoint == endpoint);
        self.endpoints.ready(is_ready).await;
    }

    async fn publisher_count(&self) -> Result<usize> {
        match self.endpoints.set.is_closed() {
            true => Err(closed()),
            false => Ok(self.endpoints.set.count()),
        }
    }
}
