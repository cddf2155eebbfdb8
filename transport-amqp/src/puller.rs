//! The end that takes jobs.

use std::sync::Arc;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use polywire_core::transport::Receiver;
use polywire_core::{Address, Limits, Message, Result, Window};

use crate::QueueKind;
use crate::consumer::{self, GivingBack, Source};
use crate::topology::Queue;
use crate::transport::Inner;
use crate::wire::{Native, Wire};

/// Opens a pulling end of `queue`; it is ready when this returns.
pub(crate) async fn open(
    transport: &Arc<Inner>,
    queue: &Address,
    window: Window,
) -> Result<Receiver> {
    let queue = transport.config.queues.kept(Native.job_queue(queue)?);
    consumer::open(transport, Arc::new(Jobs { giving_back: giving_back(&queue), queue }), window)
        .await
}

/// How something is given back so that the attempts at it are counted.
pub(crate) fn giving_back(queue: &Queue) -> GivingBack {
    match queue.options.queue_kind() {
        QueueKind::Classic => GivingBack::Counted,
        QueueKind::Quorum => GivingBack::BrokerCounts,
    }
}

/// Where it takes from.
struct Jobs {
    queue: Queue,
    giving_back: GivingBack,
}

impl Source for Jobs {
    // Whoever deletes a queue of jobs means it.
    const TELLS_OF_LOSS: bool = false;

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn feed(&self, _: &Channel, _: bool) -> Result<()> {
        Ok(())
    }

    fn read(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        Native.decode_job(raw, limits)
    }

    fn giving_back(&self) -> GivingBack {
        self.giving_back
    }

    async fn leave(&self, _: &Inner) {}
}
