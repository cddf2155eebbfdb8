//! Messages that the broker may find too large.
//!
//! The broker closes the channel of a message over its size limit, with all unconfirmed messages.
//! So a message that is larger than the accepted [sizes](super::size_limits) is published on
//! another channel than the others, and alone there. A request with direct replies cannot be: it is
//! refused at once if it exceeds a limit that the broker has named.

use std::sync::{Arc, Mutex};

use lapin::types::ShortString;
use polywire_core::Result;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::channel_supervisor::ChannelSupervisor;
use super::publish_queue::PublishQueue;
use super::size_limits::SizeLimits;
use crate::buffer_bounds::BufferBounds;
use crate::common_errors::closed;
use crate::lock::lock;
use crate::wire::OutgoingMessage;

/// The sizes that the broker is known to accept, and the queue of the messages that try larger
/// ones.
///
/// The queue is like that of the other messages: it buffers while there is no connection, in order
/// and within bounds, and no longer than each sender waits.
pub(super) struct LargeMessages {
    queue: Arc<PublishQueue>,
    /// Reply address of the requests with direct replies. They have to go over the channel on which
    /// their replies arrive.
    direct_address: Option<ShortString>,
    /// Sizes that the broker accepts.
    sizes: Arc<SizeLimits>,
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
    pub(super) fn new(supervisor: &ChannelSupervisor, buffer: BufferBounds) -> Self {
        let ChannelSupervisor {
            connection,
            exchange,
            verify_user_id,
            direct_replies,
            sizes,
            confirm_timeout,
            ..
        } = supervisor;
        let queue = Arc::new(PublishQueue::new(buffer));
        let alone = ChannelSupervisor {
            connection: connection.clone(),
            queue: queue.clone(),
            exchange: exchange.clone(),
            direct_replies: None,
            verify_user_id: *verify_user_id,
            // A refusal meets no other message.
            unconfirmed: BufferBounds { messages: 1, bytes: usize::MAX },
            confirm_timeout: *confirm_timeout,
            sizes: sizes.clone(),
        };
        Self {
            queue,
            direct_address: direct_replies.as_ref().map(|replies| replies.reply_address()),
            sizes: sizes.clone(),
            task: Mutex::new(Task::Ready(Box::new(alone))),
            runtime: Handle::current(),
        }
    }

    /// Returns the queue for a message that the broker may find too large; `None` for any other
    /// message.
    ///
    /// The first such message starts the task. After close, the queue refuses each message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`](polywire_core::ErrorKind::TooLarge), unsent, for a request with
    /// direct replies over a limit that the broker has named lately.
    pub(super) fn queue_for(&self, message: &OutgoingMessage) -> Result<Option<&PublishQueue>> {
        let size = message.body.len();
        if self.sizes.accepts(size) {
            return Ok(None);
        }
        if self.direct_address.is_some() && *message.properties.reply_to() == self.direct_address {
            return self.sizes.check(size).map(|()| None);
        }
        let mut task = lock(&self.task);
        if matches!(*task, Task::Ready(_))
            && let Task::Ready(supervisor) = std::mem::replace(&mut *task, Task::Closed)
        {
            *task = Task::Started(self.runtime.spawn(supervisor.run(None)).abort_handle());
        }
        Ok(Some(&*self.queue))
    }

    /// Stops the task, and fails all buffered and later messages.
    pub(super) fn close(&self) {
        if let Task::Started(task) = std::mem::replace(&mut *lock(&self.task), Task::Closed) {
            task.abort();
        }
        self.queue.close(&closed());
    }
}

impl Drop for LargeMessages {
    fn drop(&mut self) {
        self.close();
    }
}
