//! Messages that the broker may find too large.
//!
//! The broker closes the channel of a message over its size limit, with all unconfirmed messages.
//! No client can ask for the limit. So a message that is larger than all confirmed ones is
//! published on another channel than the others, and alone there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::channel_supervisor::ChannelSupervisor;
use super::publish_queue::PublishQueue;
use crate::buffer_bounds::Bounds;
use crate::error::{closed, lock};
use crate::wire::OutgoingMessage;

/// The sizes that the broker is known to accept, and the queue of the messages that try larger
/// ones.
///
/// The queue is like that of the other messages: it buffers while there is no connection, in order
/// and within bounds, and no longer than each sender waits.
pub(super) struct LargeMessages {
    /// `None` with direct replies, since a request has to go over the channel on which its reply
    /// arrives.
    queue: Option<Arc<PublishQueue>>,
    /// Bytes of the largest body that was confirmed.
    proven: AtomicUsize,
    /// The task that keeps a channel for the queue, from the first large message on.
    task: Mutex<Task>,
    /// Runtime for the task, since a message may be published outside of any runtime.
    runtime: Handle,
}

/// Stage of the task that keeps the channel for large messages.
enum Task {
    /// Starts with the first large message.
    Ready(Box<ChannelSupervisor>),
    Started(AbortHandle),
    Closed,
}

impl LargeMessages {
    /// Creates the way for the large messages of a publisher, whose buffer has these bounds. Panics
    /// outside of a runtime.
    pub(super) fn new(supervisor: &ChannelSupervisor, buffer: Bounds) -> Self {
        let ChannelSupervisor { connection, exchange, verify_user_id, direct_replies, .. } =
            supervisor;
        let queue = Arc::new(PublishQueue::new(buffer));
        let alone = ChannelSupervisor {
            connection: connection.clone(),
            queue: queue.clone(),
            exchange: exchange.clone(),
            direct_replies: None,
            verify_user_id: *verify_user_id,
            // A refusal meets no other message.
            unconfirmed: Bounds { messages: 1, bytes: usize::MAX },
        };
        Self {
            queue: direct_replies.is_none().then_some(queue),
            proven: AtomicUsize::new(ACCEPTED),
            task: Mutex::new(Task::Ready(Box::new(alone))),
            runtime: Handle::current(),
        }
    }

    /// Returns the queue for a message that the broker may find too large; `None` for any other
    /// message.
    ///
    /// The first such message starts the task. After close, the queue refuses each message.
    pub(super) fn queue_for(&self, message: &OutgoingMessage) -> Option<&PublishQueue> {
        let queue = self.queue.as_deref()?;
        if message.body.len() <= self.proven.load(Ordering::Relaxed) {
            return None;
        }
        let mut task = lock(&self.task);
        if matches!(*task, Task::Ready(_))
            && let Task::Ready(supervisor) = std::mem::replace(&mut *task, Task::Closed)
        {
            *task = Task::Started(self.runtime.spawn(supervisor.run(None)).abort_handle());
        }
        Some(queue)
    }

    /// Records that the broker has confirmed a body of this size.
    ///
    /// The largest size counts for the lifetime of the publisher, also after a reconnect to a
    /// broker with a lower limit.
    pub(super) fn prove(&self, size: usize) {
        self.proven.fetch_max(size, Ordering::Relaxed);
    }

    /// Stops the task, and fails all buffered and later messages.
    pub(super) fn close(&self) {
        if let Task::Started(task) = std::mem::replace(&mut *lock(&self.task), Task::Closed) {
            task.abort();
        }
        if let Some(queue) = &self.queue {
            queue.close(&closed());
        }
    }
}

impl Drop for LargeMessages {
    fn drop(&mut self) {
        self.close();
    }
}

/// 1 MiB: a broker with a lower limit is not worth a channel for each message of some size.
const ACCEPTED: usize = 1 << 20;
