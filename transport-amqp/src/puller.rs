//! The puller of a job queue.
//!
//! All pullers of a queue share its jobs. Attempts are counted by republishing.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::transport::Receiver;
use polywire_core::{Address, Limits, Message, Result, Window};

use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::consumed_queue::ConsumedQueue;
use crate::consuming::open_consumer;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native;

/// Opens a puller of `queue`. Its consumer is registered when this returns.
///
/// # Errors
///
/// Those of declaring and consuming the queue. Dropping the future stops the consumer.
pub(crate) async fn open(
    shared: &Arc<AmqpShared>,
    queue: &Address,
    window: Window,
) -> Result<Receiver> {
    let (name, queue) = (queue.clone(), shared.config.queues.queue(native::job_queue(queue)?));
    queue.check_names()?;
    let requeue_mode = RequeueMode::counting(&queue.options);
    open_consumer::open(shared, Arc::new(JobQueue { name, requeue_mode, queue }), window).await
}

/// A job queue.
struct JobQueue {
    name: Address,
    queue: QueueSpec,
    requeue_mode: RequeueMode,
}

impl ConsumedQueue for JobQueue {
    // Deleting a job queue is a deliberate act of an operator.
    const REPORTS_LOSS: bool = false;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Puller, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, _: &SupervisedConnection, _: bool) -> Result<()> {
        Ok(())
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        native::decode_job(raw, limits)
    }

    fn requeue_mode(&self) -> RequeueMode {
        self.requeue_mode
    }

    async fn close(&self, _: &AmqpShared) {}
}
