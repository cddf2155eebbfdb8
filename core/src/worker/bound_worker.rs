//! The common part of workers and listeners.

use std::sync::Arc;

use super::job_processor::JobProcessor;
use super::lifecycle::StopGuard;
use super::processor::EndpointLabel;
use super::receive_loop::receive;
use super::retries::Retries;
use super::serving::Serving;
use super::work_handle::WorkHandle;
use crate::service::Service;
use crate::transport::{Capabilities, DeadLetterSource, Receiver, Window};

/// A worker or a listener that is bound, and not running yet.
pub(crate) struct BoundWorker {
    label: EndpointLabel,
    source: Option<DeadLetterSource>,
    receiver: Receiver,
    window: Window,
    retries: Retries,
    can: Capabilities,
    pub(crate) handle: WorkHandle,
    /// The last field, so that it is dropped last.
    stop: StopGuard,
}

impl BoundWorker {
    /// Creates a loop over the deliveries of `receiver`, on a transport that `can` do this much.
    /// What fails for good goes to the dead letters of `source`.
    pub(crate) fn new(
        label: EndpointLabel,
        source: Option<DeadLetterSource>,
        mut receiver: Receiver,
        window: Window,
        retries: Retries,
        can: Capabilities,
    ) -> Self {
        let handle = WorkHandle::new(receiver.health());
        let stop = StopGuard::new(handle.lifecycle());
        Self { label, source, receiver, window, retries, can, handle, stop }
    }

    /// Processes deliveries by `service` until a drain is requested, or the transport is closed.
    pub(crate) fn run<S: Service>(self, service: S) -> Serving {
        let Self { label, source, receiver, window, retries, can, handle, stop } = self;
        stop.begin_serving();
        let counters = handle.counters().clone();
        let processor = JobProcessor::new(label, source, service, retries, can, counters);
        let lifecycle = handle.lifecycle().clone();
        Serving::new(lifecycle, receive(Arc::new(processor), receiver, window, stop))
    }
}
