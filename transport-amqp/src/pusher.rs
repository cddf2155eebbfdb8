//! The end that pushes jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, ErrorKind, Message, Result};

use crate::error::queue_full;
use crate::shared::Shared;
use crate::topology::queue::QueueSpec;
use crate::unique::unique;
use crate::wire::{Native, Publishing, Wire};

/// Opens the pushing end of `queue`, which is there when this returns.
pub(crate) async fn open(transport: &Arc<Shared>, queue: &Address) -> Result<Sender> {
    let queue = transport.config.queues.queue(Native.job_queue(queue)?);
    declare(transport, &queue).await?;
    let (prefix, last) = (unique(), AtomicU64::new(0));
    Ok(Sender::new(Jobs { transport: transport.clone(), queue, prefix, last }))
}

struct Jobs {
    transport: Arc<Shared>,
    queue: QueueSpec,
    /// What the ids of its jobs begin with.
    prefix: u128,
    last: AtomicU64,
}

impl Outbound for Jobs {
    fn send(&self, message: Message) -> Sending<'_> {
        let Shared { config, publisher, .. } = &*self.transport;
        let id = format!("{:032x}-{}", self.prefix, self.last.fetch_add(1, Ordering::Relaxed));
        let job = self.transport.check_message(&message);
        let job =
            job.and_then(|()| Native.encode_job(&self.queue.name, &id, message, config.persistent));
        let job = match job {
            Ok(job) => job,
            Err(error) => return Sending::ready(Err(error)),
        };
        // Published here and now, so that jobs are in the queue in the order in which they were
        // pushed.
        let sending = publisher.publish(job.clone(), None);
        Sending::later(async move {
            match sending.await {
                Err(error) if error.kind() == ErrorKind::Unroutable => {
                    publish_again(&self.transport, &self.queue, job).await
                }
                Err(error) if self.queue.options.rejects_overflow() => {
                    Err(queue_full(self.queue.name.as_str(), error))
                }
                outcome => outcome,
            }
        })
    }
}

/// Makes the queue again, which somebody has deleted, and publishes into it.
async fn publish_again(transport: &Shared, queue: &QueueSpec, job: Publishing) -> Result<()> {
    tracing::debug!(queue = %queue.name, "the queue is gone; making it again");
    transport.within_connect_timeout(declare(transport, queue)).await?;
    transport.publisher.publish(job, None).await
}

/// Makes the queue, over the connection that the broker does not block.
async fn declare(transport: &Shared, queue: &QueueSpec) -> Result<()> {
    queue.declare(&transport.consuming_connection.channel().await?).await
}
