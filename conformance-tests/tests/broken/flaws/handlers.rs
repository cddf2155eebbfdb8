//! Flaws of requests whose callers have gone or whose handlers panic, and of methods that come and
//! go.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::message::CallId;
use polywire_core::transport::{Abandoned, Delivery, Inbound, Outcome, Receipt, Receiver, Settle};
use polywire_core::{Address, Code, Message, Result};

use crate::flaw::{Flaw, Halves};
use crate::flaws::settling::stopping;
use crate::halves::{altered, received, settled};

/// Delivers an abandoned request once more.
#[derive(Clone)]
pub(crate) struct RedeliversAbandoned;

impl Flaw for RedeliversAbandoned {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let again = VecDeque::new();
        (sender, Receiver::new(Redelivering { receiver, seen: Vec::new(), again }))
    }
}

struct Redelivering {
    receiver: Receiver,
    seen: Vec<Message>,
    again: VecDeque<Message>,
}

impl Stream for Redelivering {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(message) = self.again.pop_front() {
            return Poll::Ready(Some(Ok(Delivery::settled(message.with_id(CallId(99))))));
        }
        let next = Pin::new(&mut self.receiver).poll_next(cx);
        if let Poll::Ready(Some(Ok(Delivery { message, .. }))) = &next {
            self.seen.push(Message::clone(message));
        }
        next
    }
}

impl Inbound for Redelivering {
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_read_ahead(cx)
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let abandoned = self.receiver.poll_abandoned(cx);
        if let Poll::Ready(call) = &abandoned
            && !call.is_expired
        {
            let again = self.seen.iter().find(|message| message.id == Some(call.id)).cloned();
            self.again.extend(again);
        }
        abandoned
    }
}

/// Requeues the requests that run, when their server stops to receive.
#[derive(Clone)]
pub(crate) struct RequeuesWhenStopped;

impl Flaw for RequeuesWhenStopped {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let running: Arc<Mutex<Vec<Arc<Running>>>> = Arc::default();
        let unsettled = running.clone();
        let receiver = received(receiver, move |item| {
            item.map(|mut delivery| {
                let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
                let held = Arc::new(Running(Mutex::new(Some(receipt))));
                unsettled.lock().unwrap().push(held.clone());
                delivery.receipt = Receipt::new(held, 0);
                delivery
            })
        });
        let stop = move |receiver: &mut Receiver| {
            receiver.stop();
            running.lock().unwrap().iter().for_each(|held| held.settle(0, Outcome::Requeue));
        };
        (sender, stopping(receiver, stop))
    }
}

struct Running(Mutex<Option<Receipt>>);

impl Settle for Running {
    fn settle(&self, _: u64, outcome: Outcome) {
        if let Some(receipt) = self.0.lock().unwrap().take() {
            receipt.settle(outcome);
        }
    }
}

/// Remembers that a server had no method of a name, and asks no server for that method again.
#[derive(Clone)]
pub(crate) struct RemembersMissingMethods;

impl Flaw for RemembersMissingMethods {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let calls: Arc<Mutex<HashMap<CallId, Address>>> = Arc::default();
        let missing: Arc<Mutex<HashSet<Address>>> = Arc::default();
        let (sent, known) = (calls.clone(), missing.clone());
        let sender = altered(sender, move |mut request| {
            if let (Some(id), Some(method)) = (request.id, request.method.clone()) {
                if known.lock().unwrap().contains(&method) {
                    request.method = Some(Address::new("missing").unwrap());
                }
                sent.lock().unwrap().insert(id, method);
            }
            vec![request]
        });
        let note = move |item: Result<Delivery>| {
            if let Ok(Delivery { message, .. }) = &item
                && message.fault.as_ref().is_some_and(|fault| fault.code == Code::MethodNotFound)
                && let Some(method) = message.id.and_then(|id| calls.lock().unwrap().remove(&id))
            {
                missing.lock().unwrap().insert(method);
            }
            item
        };
        (sender, received(receiver, note))
    }
}

/// Delivers a request again whose handler panicked, three times in all.
#[derive(Clone)]
pub(crate) struct RequeuesPanics;

impl Flaw for RequeuesPanics {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let (has_panicked, panics) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
        let requeues = has_panicked.clone();
        let sender = altered(sender, move |reply| {
            if reply.fault.as_ref().is_some_and(|fault| fault.kind == "Panic")
                && panics.fetch_add(1, Ordering::SeqCst) < 3
            {
                has_panicked.store(true, Ordering::SeqCst);
            }
            vec![reply]
        });
        let requeue = move |outcome| {
            if requeues.swap(false, Ordering::SeqCst) { Outcome::Requeue } else { outcome }
        };
        (sender, settled(receiver, requeue))
    }
}
