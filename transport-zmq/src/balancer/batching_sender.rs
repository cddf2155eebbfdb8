//! Sending of messages to one peer: one by one, or several in a batch.
//!
//! A lone call is handed to the engine at once. While calls are in flight, small messages are
//! collected until the tasks that are ready have run, and leave together. So a batch grows with the
//! load, and no message waits for a timer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, yield_now};

use crate::engine::Dealer;
use crate::lock::lock;
use crate::wire::{Batch, Frames};

/// The sending side of a peer's socket. Messages leave in the order in which they were sent.
///
/// A collected message counts as sent, although the engine does not have it yet. The message is
/// dropped if the connection is lost first, as are those in the queue of the engine.
pub(super) struct BatchingSender {
    /// The socket, for whose queue a batch is one message.
    dealer: Arc<dyn Dealer>,
    /// The largest batch that the peer reads and this side sends, in bytes; 0 for none. With 0,
    /// messages do not enter the queue, and no batch waits there. Written under its lock.
    batch_max: AtomicUsize,
    /// The messages that wait. Locked until a message is handed over, so that none overtakes them.
    queue: Mutex<Queue>,
    /// The runtime of the socket, which outlives those of single senders. Without one, no message
    /// is collected.
    runtime: Option<Handle>,
}

/// The messages that leave next, and the task that hands them over.
#[derive(Default)]
struct Queue {
    /// The collected messages in the order in which they were sent, at most `batch_max` bytes.
    batch: Batch,
    /// Set while the batch is not empty.
    flushing: Option<AbortHandle>,
}

impl BatchingSender {
    /// Wraps a socket. It sends no batch until [`set_batch_max`](Self::set_batch_max).
    pub(super) fn new(dealer: Arc<dyn Dealer>) -> Arc<Self> {
        let (batch_max, queue) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { dealer, batch_max, queue, runtime: Handle::try_current().ok() })
    }

    /// Sets the size of the largest batch in bytes, which the peer has stated. The caller has
    /// bounded the size by what this side sends.
    pub(super) fn set_batch_max(&self, bytes: usize) {
        let queue = self.queue();
        // With 0, the next message would overtake a batch that waits. No message fits into 1 byte.
        let max = if queue.batch.is_empty() { bytes } else { bytes.max(1) };
        self.batch_max.store(max, Ordering::Relaxed);
    }

    /// Sends a message, or returns the frames if there is no room. If `may_wait`, or if others wait
    /// already, the message waits until the tasks that are ready have run.
    ///
    /// If the message does not fit into a batch, or the batch is full, the messages that wait are
    /// handed over first. Without room for them, the frames are returned.
    pub(super) fn try_send(self: &Arc<Self>, frames: Frames, may_wait: bool) -> Result<(), Frames> {
        let may_join = self.batch_max.load(Ordering::Relaxed) > 0;
        let Some(runtime) = self.runtime.as_ref().filter(|_| may_join) else {
            return self.dealer.try_send(frames);
        };
        let mut queue = self.queue();
        // Read under the lock: with 0, no message may enter the queue.
        let max = self.batch_max.load(Ordering::Relaxed);
        let joins = Batch::may_hold(&frames)
            && Batch::default().has_room(&frames, max)
            && (may_wait || !queue.batch.is_empty());
        if (!joins || !queue.batch.has_room(&frames, max)) && !self.flush(&mut queue) {
            return Err(frames);
        }
        if !joins {
            return self.dealer.try_send(frames);
        }
        queue.batch.push(&frames);
        if queue.flushing.as_ref().is_none_or(AbortHandle::is_finished) {
            queue.flushing = Some(runtime.spawn(self.clone().flush_soon()).abort_handle());
        }
        Ok(())
    }

    /// Sends a message after all that wait, or returns the frames if there is no room.
    pub(super) fn try_send_now(&self, frames: Frames) -> Result<(), Frames> {
        let mut queue = self.queue();
        if self.flush(&mut queue) { self.dealer.try_send(frames) } else { Err(frames) }
    }

    /// Hands over the messages that wait. Without room they stay, for the task of the queue.
    pub(super) fn flush_now(&self) {
        self.flush(&mut self.queue());
    }

    /// Drops the messages that wait, since their connection is lost. Stops the task of the queue.
    pub(super) fn clear(&self) {
        let mut queue = self.queue();
        drop(queue.batch.take());
        if let Some(flushing) = queue.flushing.take() {
            flushing.abort();
        }
    }

    /// Hands the batch over once the tasks that are ready have run, and the engine has room. The
    /// task of the queue runs this function, and ends when the batch is handed over.
    async fn flush_soon(self: Arc<Self>) {
        loop {
            yield_now().await;
            {
                let mut queue = self.queue();
                if self.flush(&mut queue) {
                    queue.flushing = None;
                    return;
                }
            }
            self.dealer.room().await;
        }
    }

    /// Hands the batch over. Returns `false` if there is no room for it; it then stays.
    fn flush(&self, queue: &mut Queue) -> bool {
        if queue.batch.is_empty() {
            return true;
        }
        let unsent = self.dealer.try_send(queue.batch.take()).err();
        let is_sent = unsent.is_none();
        unsent.into_iter().for_each(|frames| queue.batch.put_back(frames));
        is_sent
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

#[cfg(all(test, feature = "engine-omq"))]
mod tests {
    use std::time::Duration;

    use omq_tokio::{Options, Socket, SocketType};
    use tokio::time::timeout;

    use super::*;
    use crate::config::ZmqBuilder;
    use crate::endpoint::Endpoint;
    use crate::engine::{self, Traffic};

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn message_does_not_overtake_a_batch_when_the_peer_reads_batches_no_longer() {
        let server = Socket::try_new(SocketType::Router, Options::default()).unwrap();
        let endpoint = server.bind("tcp://127.0.0.1:*").await.unwrap().to_string();
        let (settings, _) = ZmqBuilder::new().connect(&endpoint).settings().unwrap();
        let endpoint = Endpoint::parse(&endpoint).unwrap();
        let dealer = engine::connect_dealer(&settings, &Traffic::Requests, &endpoint).unwrap();
        timeout(PATIENCE, dealer.up()).await.unwrap().unwrap();
        let outgoing = BatchingSender::new(dealer);
        let send = |head: &'static str| {
            outgoing.try_send(Frames { head: head.into(), body: None }, true).unwrap();
        };
        // The batch waits until this task pauses.
        outgoing.set_batch_max(1000);
        send("first");
        outgoing.set_batch_max(0);
        send("second");
        for head in ["first", "second"] {
            let message = timeout(PATIENCE, server.recv()).await.unwrap().unwrap();
            assert_eq!(message.part_bytes(1).unwrap(), head);
        }
    }
}
