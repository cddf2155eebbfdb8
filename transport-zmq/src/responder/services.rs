//! Services of a server socket, and the consumers of their queues. No I/O.

use std::sync::Arc;

use polywire_core::transport::Delivery;
use polywire_core::{Address, Result, Window};
use rustc_hash::FxHashMap;

use super::queue_consumer::IdleFlag;
use super::service_queue::ServiceQueue;

/// The queues of the services that have a responder. A queue exists as long as it has a consumer.
#[derive(Default)]
pub(super) struct Services {
    /// The queues by service.
    queues: FxHashMap<Address, Arc<ServiceQueue>>,
    /// The numbers of the consumers of all queues, and whether they have begun to take requests.
    /// Few, so they are searched one by one.
    consumers: Vec<(u64, bool)>,
    /// The last number that was given to a consumer. Numbers begin with 1; 0 means the task of the
    /// dispatcher.
    last_consumer: u64,
}

/// A consumer that was added to the queue of a service.
pub(super) struct AddedConsumer {
    /// The queue of the service.
    pub(super) queue: Arc<ServiceQueue>,
    /// The number of the consumer, unique within the server socket.
    pub(super) consumer: u64,
    /// Set while the queue has nothing for the consumer.
    pub(super) is_idle: Arc<IdleFlag>,
}

impl Services {
    /// Returns the queue of a service, or `None` if no responder serves it.
    pub(super) fn queue(&self, service: &Address) -> Option<Arc<ServiceQueue>> {
        self.queues.get(service).cloned()
    }

    /// Returns all queues, in no order.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<ServiceQueue>> {
        self.queues.values()
    }

    /// Removes and returns all queues.
    pub(super) fn take_queues(&mut self) -> impl Iterator<Item = Arc<ServiceQueue>> + use<> {
        std::mem::take(&mut self.queues).into_values()
    }

    /// Adds a consumer to the queue of a service, which is created with its first consumer. If the
    /// dispatcher `is_closed`, the queue is a closed one of its own, so that the stream of the
    /// consumer ends.
    pub(super) fn add_consumer(
        &mut self,
        service: &Address,
        window: Window,
        is_closed: bool,
    ) -> AddedConsumer {
        self.last_consumer += 1;
        let consumer = self.last_consumer;
        let queue = match is_closed {
            true => Arc::new(ServiceQueue::closed()),
            false => self.queues.entry(service.clone()).or_default().clone(),
        };
        let is_idle = queue.add_consumer(consumer, window.messages());
        self.consumers.push((consumer, false));
        AddedConsumer { queue, consumer, is_idle }
    }

    /// Removes a consumer, and its queue with the last consumer. Returns the queued requests then,
    /// to be refused.
    pub(super) fn remove_consumer(
        &mut self,
        service: &Address,
        queue: &ServiceQueue,
        consumer: u64,
    ) -> Vec<Result<Delivery>> {
        let unserved = queue.remove_consumer(consumer);
        if unserved.is_some() {
            self.queues.remove(service);
        }
        self.consumers.retain(|(other, _)| *other != consumer);
        unserved.unwrap_or_default()
    }

    /// Records that a consumer has begun to take requests.
    pub(super) fn begin_consuming(&mut self, consumer: u64) {
        for (other, has_begun) in &mut self.consumers {
            *has_begun |= *other == consumer;
        }
    }

    /// Returns the consumer that may read the socket itself: the only one, after it has begun to
    /// take requests.
    ///
    /// A consumer that has not begun does not read: requests stay in the socket until they can be
    /// handed over.
    pub(super) fn sole_consumer(&self) -> Option<u64> {
        if let [(consumer, true)] = *self.consumers { Some(consumer) } else { None }
    }
}
