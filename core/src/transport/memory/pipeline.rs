//! The ends of a queue of jobs.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::consumer::{self, OrphanHandler};
use super::queue::Queue;
use super::{End, Memory, closed};
use crate::message::{Address, Limits, Message};
use crate::transport::{Outbound, Receiver, Sender, Sending, Window};

pub(super) fn push(memory: &Memory, queue: &Address) -> (Weak<dyn End>, Sender) {
    let open = Arc::new(Open::default());
    let end: Arc<dyn End> = open.clone();
    let jobs = Jobs { queue: memory.hub.jobs(queue), limits: memory.limits, open };
    (Arc::downgrade(&end), Sender::new(jobs))
}

pub(super) fn pull(memory: &Memory, queue: &Address, window: Window) -> (Weak<dyn End>, Receiver) {
    consumer::take(memory.hub.jobs(queue), memory.hub.fresh_id(), window, Arc::new(Nobody))
}

/// Jobs that nobody takes stay where they are.
struct Nobody;

impl OrphanHandler for Nobody {
    fn left(&self, _: &Arc<Queue>, _: Vec<Message>) {}
}

/// Whether a sending end is open.
#[derive(Default)]
pub(super) struct Open {
    closed: AtomicBool,
    closing: Notify,
}

impl Open {
    /// Refuses a message that must not leave.
    pub(super) fn check(&self, message: &Message, limits: &Limits) -> crate::error::Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { limits.check(message) }
    }

    /// What `sending` comes to, unless the end is closed before.
    pub(super) async fn unless_closed(
        &self,
        sending: impl Future<Output = crate::error::Result<()>>,
    ) -> crate::error::Result<()> {
        let closing = self.closing.notified();
        tokio::pin!(closing);
        // Listening before looking.
        closing.as_mut().enable();
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        tokio::select! {
            biased;
            () = closing => Err(closed()),
            sent = sending => sent,
        }
    }
}

impl End for Open {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
    }
}

struct Jobs {
    queue: Arc<Queue>,
    limits: Limits,
    open: Arc<Open>,
}

impl Outbound for Jobs {
    fn send(&self, message: Message) -> Sending<'_> {
        if let Err(error) = self.open.check(&message, &self.limits) {
            return Sending::ready(Err(error));
        }
        match self.queue.try_push(message) {
            Ok(result) => Sending::ready(result),
            Err(message) => Sending::later(self.open.unless_closed(self.queue.push(message))),
        }
    }
}
