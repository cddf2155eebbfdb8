//! Where requests are dealt out to the services, and replies handed in.

use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use polywire_core::{
    Address, CallId, Code, Delivery, Error, Fault, Limits, Message, ReplyTo, Sending, Window,
};
use rustc_hash::FxHashMap;

use super::queue::{Item, Queue};
use crate::engine::Router;
use crate::error::{caller_gone, lock};
use crate::wire::{Frames, Garbled, Native, Role, Wire};

/// Where requests are dealt out, and replies handed in.
pub(super) struct Desk {
    router: Arc<dyn Router>,
    limits: Limits,
    services: Mutex<Services>,
}

/// The queues of the services that are served now.
#[derive(Default)]
struct Services {
    queues: FxHashMap<Address, Arc<Queue>>,
    last_seat: u64,
    closed: bool,
}

impl Desk {
    pub(super) fn new(router: Arc<dyn Router>, limits: Limits) -> Self {
        Self { router, limits, services: Mutex::default() }
    }

    /// Deals out requests until the socket is closed.
    pub(super) async fn pump(self: Arc<Self>) {
        let mut requests = self.router.requests();
        while let Some((peer, frames)) = requests.next().await {
            self.deal(ReplyTo::new(peer), frames).await;
        }
    }

    async fn deal(&self, peer: ReplyTo, frames: Frames) {
        let (service, call, item) = match Native.decode(frames, &self.limits) {
            Ok((Role::Request(service), mut message)) => {
                let call = message.id;
                message.reply_to = call.map(|_| peer.clone());
                (Some(service), call, Ok(Delivery::settled(message)))
            }
            Ok((Role::Reply | Role::Refusal, _)) => {
                return tracing::debug!(?peer, "dropped a reply that came where requests come");
            }
            Err(Garbled { service, call, error }) => (service, call, unreadable(call, &peer, error)),
        };
        let Some(service) = service else { return self.complain(peer, call, item) };
        let queue = lock(&self.services).queues.get(&service).cloned();
        let unserved = match queue {
            Some(queue) => queue.push(item).await.is_err(),
            None => true,
        };
        if let Some(call) = call.filter(|_| unserved) {
            self.refuse(&peer, call);
        }
    }

    /// Answers a request that names no service, and so has no server to answer it.
    fn complain(&self, peer: ReplyTo, call: Option<CallId>, item: Item) {
        match item {
            Ok(Delivery { mut message, .. }) => {
                message.id = call;
                message.reply_to = Some(peer);
                // As with a refusal: a peer that takes nothing learns it by its deadline.
                drop(self.reply(message));
            }
            Err(error) => tracing::warn!(?error, ?peer, "rejected a request that cannot be read"),
        }
    }

    /// Says that nobody here serves what was asked for. To a peer that takes nothing now it is not said, because
    /// nobody could wait for it here; its deadline says it.
    fn refuse(&self, peer: &ReplyTo, call: CallId) {
        let mut refusal = Message::default();
        refusal.id = Some(call);
        if let Ok(frames) = Native.encode(&Role::Refusal, refusal, &self.limits) {
            drop(self.router.send(peer.as_bytes().clone(), frames));
        }
    }

    pub(super) fn reply(&self, message: Message) -> Sending<'_> {
        let Some(peer) = message.reply_to.as_ref().map(|peer| peer.as_bytes().clone()) else {
            return Sending::ready(Err(caller_gone()));
        };
        let checked = self.limits.check(&message);
        match checked.and_then(|()| Native.encode(&Role::Reply, message, &self.limits)) {
            Ok(frames) => self.router.send(peer, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Seats a responder at the queue of its service, which is a closed one if the desk is closed.
    pub(super) fn join(&self, service: &Address, window: Window) -> (Arc<Queue>, u64) {
        let mut services = lock(&self.services);
        services.last_seat += 1;
        let seat = services.last_seat;
        let queue = match services.closed {
            true => Arc::new(Queue::closed()),
            false => services.queues.entry(service.clone()).or_default().clone(),
        };
        // Under the lock, so that the queue is not taken away for want of seats in between.
        queue.join(seat, window.messages());
        (queue, seat)
    }

    /// Takes a seat away, and the queue with the last one.
    pub(super) fn leave(&self, service: &Address, queue: &Queue, seat: u64) {
        let orphans = {
            let mut services = lock(&self.services);
            let orphans = queue.leave(seat);
            if orphans.is_some() {
                services.queues.remove(service);
            }
            orphans
        };
        self.refuse_all(orphans.unwrap_or_default());
    }

    /// Ends every serving end; the future lasts as long as the socket lingers.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        let queues = {
            let mut services = lock(&self.services);
            services.closed = true;
            std::mem::take(&mut services.queues)
        };
        for queue in queues.into_values() {
            self.refuse_all(queue.close());
        }
        self.router.close()
    }

    fn refuse_all(&self, orphans: Vec<Item>) {
        for Delivery { message, .. } in orphans.into_iter().flatten() {
            if let (Some(call), Some(peer)) = (message.id, message.reply_to) {
                self.refuse(&peer, call);
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.services).closed
    }
}

/// What a server gets of a request that cannot be read: a delivery to be answered with a fault, if it can be answered.
fn unreadable(call: Option<CallId>, peer: &ReplyTo, error: Error) -> Item {
    let Some(call) = call else { return Err(error) };
    let fault = Fault::new(Code::InvalidArguments, format!("the request cannot be read: {error}"));
    let mut message = Message::failed(fault);
    message.id = Some(call);
    message.reply_to = Some(peer.clone());
    Ok(Delivery::settled(message))
}
