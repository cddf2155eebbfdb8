//! Puller.

use std::sync::{Arc, Weak};

use super::consumer::{self, HealthEntry, OrphanHandler};
use super::open_handles::ManagedHandle;
use super::queue::Queue;
use crate::message::Message;
use crate::transport::{Receiver, Window};

/// Opens a puller of `queue` with the consumer id `id`.
pub(super) fn open(
    queue: Arc<Queue>,
    (id, window): (u64, Window),
    health: HealthEntry<'_>,
) -> (Weak<dyn ManagedHandle>, Receiver) {
    consumer::open(queue, (id, window), Arc::new(NoOrphanHandler), health)
}

/// Orphan handler of job queues, which hold their messages and have no orphans.
struct NoOrphanHandler;

impl OrphanHandler for NoOrphanHandler {
    fn handle(&self, _: &Arc<Queue>, _: Vec<Message>) {}
}
