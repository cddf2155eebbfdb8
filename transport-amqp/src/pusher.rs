//! The sending half of pushers.

use std::sync::Arc;

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, ErrorKind, Message, Result};

use crate::common_errors::queue_full;
use crate::shared::AmqpShared;
use crate::topology::declare_queue;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::{OutgoingMessage, native};

/// Opens a sender of jobs to `queue`, and declares the queue.
///
/// # Errors
///
/// [`ErrorKind::Config`] if there is a queue with other arguments by this name, or if a passive
/// queue is missing.
pub(crate) async fn open(shared: &Arc<AmqpShared>, queue: &Address) -> Result<Sender> {
    let queue = shared.config.queues.queue(native::job_queue(queue)?);
    queue.check_names()?;
    declare(shared, &queue).await?;
    Ok(Sender::new(JobSender { shared: shared.clone(), queue }))
}

/// The sender of jobs to one queue.
///
/// Jobs keep the order of the calls of `send`. A job that finds the queue deleted is published
/// again, behind later ones.
struct JobSender {
    shared: Arc<AmqpShared>,
    queue: QueueSpec,
}

impl Outbound for JobSender {
    fn send(&self, mut message: Message) -> Sending<'_> {
        message.priority = message.priority.or(self.queue.options.default_priority());
        let AmqpShared { config, publisher, .. } = &*self.shared;
        let job = self
            .shared
            .check_message(&message)
            .and_then(|()| native::encode_job(&self.queue.name, message, config.persistent));
        let job = match job {
            Ok(job) => job,
            Err(error) => return Sending::ready(Err(error)),
        };
        // Published before the future is polled, so that jobs keep the order of the calls.
        let sending = publisher.publish(job.clone());
        Sending::later(async move {
            match sending.await {
                Err(error) if error.kind() == ErrorKind::Unroutable => {
                    declare_and_publish(&self.shared, &self.queue, job).await
                }
                Err(error) if self.queue.options.rejects_overflow() => {
                    Err(queue_full(self.queue.name.as_str(), error))
                }
                outcome => outcome,
            }
        })
    }
}

/// Declares a deleted queue again, and publishes the job to it.
async fn declare_and_publish(
    shared: &AmqpShared,
    queue: &QueueSpec,
    job: OutgoingMessage,
) -> Result<()> {
    tracing::debug!(queue = %queue.name, "the queue was deleted; declaring it again");
    shared.within_connect_timeout(declare(shared, queue)).await?;
    shared.publisher.publish(job).await
}

/// Declares the queue over the consuming connection, which the broker never blocks.
async fn declare(shared: &AmqpShared, queue: &QueueSpec) -> Result<()> {
    declare_queue::declare(&shared.consuming_connection, queue).await
}
