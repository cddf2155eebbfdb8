//! The end that pushes jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, ErrorKind, Message, Result};

use crate::error::full;
use crate::topology::Queue;
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{Native, Publishing, Wire};

/// Opens the pushing end of `queue`, which is there when this returns.
pub(crate) async fn open(transport: &Arc<Inner>, queue: &Address) -> Result<Sender> {
    let queue = transport.config.queues.kept(Native.job_queue(queue)?);
    declare(transport, &queue).await?;
    let (prefix, last) = (unique(), AtomicU64::new(0));
    Ok(Sender::new(Jobs { transport: transport.clone(), queue, prefix, last }))
}

struct Jobs {
    transport: Arc<Inner>,
    queue: Queue,
    /// What the ids of its jobs begin with.
    prefix: u128,
    last: AtomicU64,
}

impl Outbound for Jobs {
    fn send(&self, message: Message) -> Sending<'_> {
        let Inner { config, lines, .. } = &*self.transport;
        let id = format!("{:032x}-{}", self.prefix, self.last.fetch_add(1, Ordering::Relaxed));
        let job = self.transport.check(&message);
        let job =
            job.and_then(|()| Native.encode_job(&self.queue.name, &id, message, config.persistent));
        let job = match job {
            Ok(job) => job,
            Err(error) => return Sending::ready(Err(error)),
        };
        // Published here and now, so that jobs are in the queue in the order in which they were
        // pushed.
        let sending = lines.publish(job.clone(), None);
        Sending::later(async move {
            match sending.await {
                Err(error) if error.kind() == ErrorKind::Unroutable => {
                    publish_again(&self.transport, &self.queue, job).await
                }
                Err(error) if self.queue.options.rejects() => {
                    Err(full(self.queue.name.as_str(), error))
                }
                outcome => outcome,
            }
        })
    }
}

/// Makes the queue again, which somebody has deleted, and publishes into it.
async fn publish_again(transport: &Inner, queue: &Queue, job: Publishing) -> Result<()> {
    tracing::debug!(queue = %queue.name, "the queue is gone; making it again");
    transport.in_connect_time(declare(transport, queue)).await?;
    transport.lines.publish(job, None).await
}

/// Makes the queue, over the connection that the broker does not block.
async fn declare(transport: &Inner, queue: &Queue) -> Result<()> {
    queue.declare(&transport.consuming.channel().await?).await
}
