//! The consumers of the services, and the choice of the reader among them.

use std::sync::atomic::Ordering;

use polywire_core::{Address, Window};

use super::Dispatcher;
use crate::lock::lock;
use crate::responder::count_guard::CountGuard;
use crate::responder::service_queue::ServiceQueue;
use crate::responder::services::{AddedConsumer, Services};

impl Dispatcher {
    /// Adds a consumer to the queue of a service, which is closed if the dispatcher is.
    ///
    /// Before the first consumer is added, no request is read.
    pub(in crate::responder) fn add_consumer(
        &self,
        service: &Address,
        window: Window,
    ) -> AddedConsumer {
        // Under the lock, so that no removal of the last consumer removes the queue in between.
        let mut services = lock(&self.services);
        let added = services.add_consumer(service, window, self.is_closed());
        self.is_serving.store(true, Ordering::Release);
        self.choose_reader(&services);
        added
    }

    /// Removes a consumer. If it was the last one of its queue, refuses the queued requests. The
    /// leave of the socket waits for these refusals.
    pub(in crate::responder) fn remove_consumer(
        &self,
        service: &Address,
        queue: &ServiceQueue,
        consumer: u64,
    ) {
        let _reading = CountGuard::new(&self.reading);
        let unserved = {
            let mut services = lock(&self.services);
            let unserved = services.remove_consumer(service, queue, consumer);
            self.choose_reader(&services);
            unserved
        };
        self.replies.refuse_all(unserved);
    }

    /// Records that a consumer has begun to take requests, which may make it the reader. Called
    /// with the first poll of its stream.
    pub(in crate::responder) fn begin_consuming(&self, consumer: u64) {
        let mut services = lock(&self.services);
        services.begin_consuming(consumer);
        self.choose_reader(&services);
    }

    /// Makes the sole consumer the reader, or the task, and wakes all that may be it. Called under
    /// the lock of the services after each change of the consumers.
    ///
    /// After a close, the task is the reader, and ends.
    pub(super) fn choose_reader(&self, services: &Services) {
        let sole = services.sole_consumer().filter(|_| !self.is_closed());
        self.reader.store(sole.unwrap_or(0), Ordering::Release);
        self.task.wake();
        for queue in services.queues() {
            queue.wake_consumers();
        }
    }
}
