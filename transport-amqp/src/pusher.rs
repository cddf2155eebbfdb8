//! The sending half of pushers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, ErrorKind, Message, Result};

use crate::error::full;
use crate::topology::Queue;
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{OutgoingMessage, native};

/// Opens a sender of jobs to `queue`, and declares the queue.
pub(crate) async fn open(transport: &Arc<Inner>, queue: &Address) -> Result<Sender> {
    let queue = transport.config.queues.kept(native::job_queue(queue)?);
    declare(transport, &queue).await?;
    let (id_prefix, last) = (unique(), AtomicU64::new(0));
    Ok(Sender::new(JobSender { transport: transport.clone(), queue, id_prefix, last }))
}

struct JobSender {
    transport: Arc<Inner>,
    queue: Queue,
    /// First half of the ids of its jobs. The second half is a counter.
    id_prefix: u128,
    last: AtomicU64,
}

impl Outbound for JobSender {
    fn send(&self, message: Message) -> Sending<'_> {
        let Inner { config, lines, .. } = &*self.transport;
        let id = format!("{:032x}-{}", self.id_prefix, self.last.fetch_add(1, Ordering::Relaxed));
        let job = self.transport.check(&message).and_then(|()| {
            native::encode_job(&self.queue.name, &id, message, config.persistent)
        });
        let job = match job {
            Ok(job) => job,
            Err(error) => return Sending::ready(Err(error)),
        };
        // Published before the future is polled, so that jobs keep the order of the calls.
        let sending = lines.publish(job.clone());
        Sending::later(async move {
            match sending.await {
                Err(error) if error.kind() == ErrorKind::Unroutable => {
                    declare_and_publish(&self.transport, &self.queue, job).await
                }
                Err(error) if self.queue.options.rejects() => {
                    Err(full(self.queue.name.as_str(), error))
                }
                outcome => outcome,
            }
        })
    }
}

/// Declares a deleted queue again, and publishes the job to it.
async fn declare_and_publish(
    transport: &Inner,
    queue: &Queue,
    job: OutgoingMessage,
) -> Result<()> {
    tracing::debug!(queue = %queue.name, "the queue was deleted; declaring it again");
    transport.in_connect_time(declare(transport, queue)).await?;
    transport.lines.publish(job).await
}

/// Declares the queue over the consuming connection, which the broker never blocks.
async fn declare(transport: &Inner, queue: &Queue) -> Result<()> {
    queue.declare(&transport.consuming.channel().await?).await
}
