//! The calling end.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::queue::Queue;
use super::{End, Memory, MemoryBroker, closed, lock};
use crate::error::Result;
use crate::message::{Address, CallId, Limits, Message, ReplyTo};
use crate::transport::{Abandoned, Delivery, Inbound, Outbound, Receiver, Sender, Sending};

pub(super) fn open(memory: &Memory, service: &Address) -> (Weak<dyn End>, Sender, Receiver) {
    let (mailbox, replies) = mpsc::unbounded_channel();
    let caller = Arc::new(Caller {
        hub: memory.hub.clone(),
        id: memory.hub.fresh_id(),
        closed: AtomicBool::new(false),
    });
    lock(&memory.hub.mailboxes).insert(caller.id, mailbox);
    let end: Arc<dyn End> = caller.clone();
    let requests = Requests {
        queue: memory.hub.queue(service),
        caller: caller.clone(),
        limits: memory.limits,
    };
    (
        Arc::downgrade(&end),
        Sender::new(requests),
        Receiver::new(Replies { replies, _caller: caller }),
    )
}

/// The number of the mailbox that a request asks its reply to be sent to.
pub(super) fn mailbox_of(message: &Message) -> Option<u64> {
    let bytes = message.reply_to.as_ref()?.as_bytes();
    Some(u64::from_le_bytes(bytes.as_ref().try_into().ok()?))
}

/// The identity of a requester: its mailbox stands as long as it does.
struct Caller {
    hub: Arc<MemoryBroker>,
    id: u64,
    closed: AtomicBool,
}

impl Caller {
    fn address(&self) -> ReplyTo {
        ReplyTo::new(Bytes::copy_from_slice(&self.id.to_le_bytes()))
    }
}

impl End for Caller {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.hub.mailboxes).remove(&self.id);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.close();
    }
}

struct Requests {
    queue: Arc<Queue>,
    caller: Arc<Caller>,
    limits: Limits,
}

impl Outbound for Requests {
    fn send(&self, mut message: Message) -> Sending<'_> {
        if self.caller.closed.load(Ordering::Acquire) {
            return Sending::ready(Err(closed()));
        }
        if let Err(error) = self.limits.check(&message) {
            return Sending::ready(Err(error));
        }
        // What a sender says of itself proves nothing.
        message.peer = None;
        // One without a number wants no reply.
        message.reply_to = message.id.map(|_| self.caller.address());
        match self.queue.try_push(message) {
            Ok(result) => Sending::ready(result),
            Err(message) => Sending::later(self.queue.push(message)),
        }
    }

    fn abandon(&self, call: CallId) {
        self.queue.abandon(&Abandoned::new(self.caller.address(), call));
    }
}

struct Replies {
    replies: UnboundedReceiver<Result<Delivery>>,
    _caller: Arc<Caller>,
}

impl Stream for Replies {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.replies.poll_recv(cx)
    }
}

impl Inbound for Replies {
    fn stop(mut self: Pin<&mut Self>) {
        self.replies.close();
    }
}
