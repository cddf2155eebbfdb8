//! Flaws of requesters and responders: confused calls, and places that are never freed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, Outbound, Sender, Sending};
use polywire_core::{Error, ErrorKind, Message, Result};
use tokio::sync::Semaphore;

use super::deliveries::silent;
use crate::flaw::{Flaw, Halves};
use crate::halves::{altered, received};

/// Takes every reply for the reply to the latest call.
#[derive(Clone)]
pub(crate) struct ConfusesReplies;

impl Flaw for ConfusesReplies {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let latest = Arc::new(Mutex::new(None::<CallId>));
        let sent = latest.clone();
        let sender = altered(sender, move |request| {
            *sent.lock().unwrap() = request.id;
            vec![request]
        });
        let confuse = move |item: Result<Delivery>| {
            item.map(|mut reply| {
                reply.message.id = *latest.lock().unwrap();
                reply
            })
        };
        (sender, received(receiver, confuse))
    }
}

/// Takes a reply that cannot be decoded for the end of the connection.
#[derive(Clone)]
pub(crate) struct DisconnectsOnUnreadable;

impl Flaw for DisconnectsOnUnreadable {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let check = |item: Result<Delivery>| {
            let reply = item?;
            // No MessagePack begins with this byte.
            if reply.message.body.clone().into_bytes().starts_with(b"\xc1") {
                return Err(Error::new(ErrorKind::Disconnected, "the reply cannot be decoded"));
            }
            Ok(reply)
        };
        (sender, received(receiver, check))
    }
}

/// Gives every request to the server that came first.
#[derive(Clone, Default)]
pub(crate) struct FavorsTheFirst(Arc<AtomicUsize>);

impl Flaw for FavorsTheFirst {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let is_first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        (sender, if is_first { receiver } else { silent(receiver) })
    }
}

/// Passes replies to the requester that came first, and to no other.
#[derive(Clone, Default)]
pub(crate) struct HearsTheFirst(Arc<AtomicUsize>);

impl Flaw for HearsTheFirst {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let is_first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        (sender, if is_first { receiver } else { silent(receiver) })
    }
}

/// Takes a place for each call that only its reply frees, so that an abandoned call keeps it.
#[derive(Clone)]
pub(crate) struct LeaksAbandonedCalls;

impl Flaw for LeaksAbandonedCalls {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let places = Arc::new(Semaphore::new(64));
        let freed = places.clone();
        let free = move |item| {
            freed.add_permits(1);
            item
        };
        (Sender::new(Leaking { sender, places }), received(receiver, free))
    }
}

struct Leaking {
    sender: Sender,
    places: Arc<Semaphore>,
}

impl Outbound for Leaking {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async move {
            self.places.acquire().await.unwrap().forget();
            self.sender.send(message).await
        })
    }
}

/// Reports a one-way call as sent when it is settled, which its handler decides.
#[derive(Clone)]
pub(crate) struct SendsWhenSettled;

impl Flaw for SendsWhenSettled {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (Sender::new(Settling(sender)), receiver)
    }
}

struct Settling(Sender);

impl Outbound for Settling {
    fn send(&self, message: Message) -> Sending<'_> {
        let is_oneway = message.id.is_none();
        Sending::later(async move {
            self.0.send(message).await?;
            if is_oneway { std::future::pending().await } else { Ok(()) }
        })
    }
}

/// Remembers that a service was unroutable, and sends no message to it any more.
#[derive(Clone)]
pub(crate) struct RemembersUnroutable;

impl Flaw for RemembersUnroutable {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (Sender::new(Remembering { sender, refusal: Mutex::default() }), receiver)
    }
}

struct Remembering {
    sender: Sender,
    refusal: Mutex<Option<Error>>,
}

impl Outbound for Remembering {
    fn send(&self, message: Message) -> Sending<'_> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Sending::ready(Err(refusal));
        }
        Sending::later(async move {
            let sent = self.sender.send(message).await;
            if let Err(error) = &sent {
                *self.refusal.lock().unwrap() = Some(error.clone());
            }
            sent
        })
    }
}
