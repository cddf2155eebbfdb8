//! The end that takes jobs.

use std::sync::Arc;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use polywire_core::{Address, Limits, Message, Receiver, Result, Window};

use crate::QueueKind;
use crate::consumer::{self, GivingBack, Source};
use crate::topology::Queue;
use crate::transport::Inner;
use crate::wire::{Native, Wire};

/// Opens a pulling end of `queue`; it is ready when this returns.
pub(crate) async fn open(transport: &Arc<Inner>, queue: &Address, window: Window) -> Result<Receiver> {
    let kind = transport.config.queue_kind;
    let jobs = Jobs { queue: Queue::kept(Native.job_queue(queue)?, kind), giving_back: giving_back(kind) };
    consumer::open(transport, Arc::new(jobs), window).await
}

/// How something is given back so that the attempts at it are counted.
pub(crate) fn giving_back(kind: QueueKind) -> GivingBack {
    match kind {
        QueueKind::Classic => GivingBack::Counted,
        QueueKind::Quorum => GivingBack::Broker,
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

    async fn feed(&self, _: &Channel) -> Result<()> {
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
