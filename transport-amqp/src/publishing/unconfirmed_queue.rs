//! The published messages whose confirms are not read yet.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use lapin::Confirmation;
use tokio::sync::Notify;

use super::publish_request::ConfirmWaiter;
use super::return_matcher::ReturnKey;
use crate::lock::lock;

/// A message that is written and not confirmed.
pub(super) struct UnconfirmedPublish {
    /// The key by which a returned message is recognized; `None` if it cannot be returned.
    pub(super) return_key: Option<ReturnKey>,
    /// Bytes of the body, by which a message over the broker's size limit is recognized.
    pub(super) body_len: usize,
    pub(super) waiter: ConfirmWaiter,
    pub(super) confirming: Confirming,
}

/// The write of a message and the wait for its confirm. Boxed, since its type cannot be named.
pub(super) type Confirming = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// Messages on their way from the publishers to the task that reads the confirms.
///
/// The engine numbers a message and queues its frames in the first poll of the future, under two
/// locks of its own. This queue is locked over that poll, so that no second thread gets in between
/// and swaps the confirms. And after taking the queue, the reader knows every message that the
/// broker may have confirmed.
///
/// The limit on unconfirmed messages bounds the queue.
#[derive(Default)]
pub(super) struct UnconfirmedQueue {
    new: Mutex<Vec<UnconfirmedPublish>>,
    /// Set when the channel is dropped, so that the reader ends after the last confirm.
    is_closed: AtomicBool,
    wakers: ConfirmWakers,
}

/// The numbers of the messages to poll again, in the order in which they were woken.
#[derive(Default)]
struct ConfirmWakers {
    woken: Mutex<Vec<u64>>,
    /// Signal that there are numbers, or new messages, or that the queue was closed.
    changed: Notify,
}

impl UnconfirmedQueue {
    /// Adds the message that `publish` writes, with the queue locked over the write.
    ///
    /// `publish` must not block or wait: it polls the write once.
    pub(super) fn push(&self, publish: impl FnOnce() -> UnconfirmedPublish) {
        lock(&self.new).push(publish());
        self.wakers.changed.notify_one();
    }

    /// Says that no message will be added.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.wakers.changed.notify_one();
    }

    /// Returns whether [`close`](Self::close) was called.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Waits for a change: a woken or a new message, or the end.
    pub(super) async fn changed(&self) {
        self.wakers.changed.notified().await;
    }

    /// Takes the new messages.
    pub(super) fn take_new(&self) -> Vec<UnconfirmedPublish> {
        std::mem::take(&mut *lock(&self.new))
    }

    /// Takes the numbers of the woken messages. A message may be in the list more than once, and
    /// after its confirm.
    pub(super) fn take_woken(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.wakers.woken))
    }

    /// Returns the waker for the message with this number.
    pub(super) fn waker(self: &Arc<Self>, number: u64) -> Waker {
        Waker::from(Arc::new(ConfirmWaker { number, queue: self.clone() }))
    }
}

/// The waker of one message. Polling only woken messages keeps thousands of them affordable.
struct ConfirmWaker {
    number: u64,
    queue: Arc<UnconfirmedQueue>,
}

impl Wake for ConfirmWaker {
    fn wake(self: Arc<Self>) {
        let ConfirmWakers { woken, changed } = &self.queue.wakers;
        let mut woken = lock(woken);
        woken.push(self.number);
        // The reader takes all numbers at once, so one signal is enough.
        if woken.len() == 1 {
            changed.notify_one();
        }
    }
}
