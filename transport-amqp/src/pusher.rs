//! The end that pushes jobs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use polywire_core::{Address, ErrorKind, Message, Outbound, Result, Sender, Sending};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::line::Returned;
use crate::session::{PAUSE_MAX, PAUSE_MIN, jittered};
use crate::topology::Queue;
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{Native, Publishing, Wire};

/// Opens the pushing end of `queue`, which is there when this returns.
pub(crate) async fn open(transport: &Arc<Inner>, queue: &Address) -> Result<Sender> {
    let queue = transport.config.queues.kept(Native.job_queue(queue)?);
    queue.declare(&transport.publishing.channel().await?).await?;
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
        let job = job.and_then(|()| Native.encode_job(&self.queue.name, &id, message, config.persistent));
        let job = match job {
            Ok(job) => job,
            Err(error) => return Sending::ready(Err(error)),
        };
        // Published here and now, so that jobs are in the queue in the order in which they were pushed.
        let sending = lines.publish(job.clone(), None);
        Sending::later(async move {
            match sending.await {
                Err(error) if error.kind() == ErrorKind::Unroutable => {
                    publish_again(&self.transport, &self.queue, job).await
                }
                outcome => outcome,
            }
        })
    }
}

/// Makes the queue again, which somebody has deleted, and publishes into it.
async fn publish_again(transport: &Inner, queue: &Queue, job: Publishing) -> Result<()> {
    tracing::debug!(queue = %queue.name, "the queue is gone; making it again");
    let declaring = async { queue.declare(&transport.publishing.channel().await?).await };
    transport.in_connect_time(declaring).await?;
    transport.lines.publish(job, None).await
}

/// The jobs that came back after their pushers had been told that the broker has them.
///
/// Unbounded, because no more of them come than pushes were waiting for their confirms.
pub(crate) struct Astray(mpsc::UnboundedSender<Publishing>);

impl Astray {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Publishing>) {
        let (put, take) = mpsc::unbounded_channel();
        (Self(put), take)
    }

    /// Notes what came back, if it is a job whose pusher does not know.
    pub(crate) fn returned(&self, returned: Returned<'_>) {
        let Returned { message, is_told } = returned;
        if is_told || !message.exchange.as_str().is_empty() || Native.role(&message.routing_key).is_none() {
            return;
        }
        let (queue, properties) = (message.routing_key.clone(), message.properties.clone());
        // The other side goes only with the transport.
        let _ = self.0.send(Publishing::to_queue(queue, properties, message.data.clone().into()));
    }
}

/// Publishes such jobs again, until the transport is gone.
pub(crate) async fn rescue(mut astray: mpsc::UnboundedReceiver<Publishing>, transport: Weak<Inner>) {
    while let Some(job) = astray.recv().await {
        let mut pause = PAUSE_MIN;
        while let Some(transport) = transport.upgrade() {
            // Nothing else is noted here.
            let Some(queue) = transport.config.queues.named(&job.routing_key) else { break };
            match publish_again(&transport, &queue, job.clone()).await {
                Ok(()) => break,
                Err(error) if error.is_transient() => {
                    tracing::warn!(?error, queue = %queue.name, "cannot publish a returned job again yet");
                }
                Err(error) => {
                    tracing::error!(?error, queue = %queue.name, "lost a job whose queue was deleted");
                    break;
                }
            }
            drop(transport);
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
