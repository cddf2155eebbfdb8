//! The [`Processor`] trait: the processing of deliveries in a receive loop.

use std::future::Future;
use std::sync::Arc;

use crate::error::Error;
use crate::message::Address;
use crate::transport::{Abandoned, Answer, Delivery};

/// The processing of deliveries by a server, a worker or a listener.
pub(crate) trait Processor: Send + Sync + 'static {
    /// Keeps receiving during a drain until the receiver ends, even if no handler runs any more.
    const DRAINS_UNTIL_END: bool;

    /// Processes a delivery, and settles it.
    fn handle(self: Arc<Self>, delivery: Delivery) -> impl Future<Output = ()> + Send + 'static;

    /// Processes a delivery that arrived during a drain and that the backend could not requeue.
    fn refuse_delivery(
        self: Arc<Self>,
        delivery: Delivery,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// Waits until the deliveries are settled that are not settled when [`handle`](Self::handle)
    /// ends.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Returns the label for the log.
    fn label(&self) -> &EndpointLabel;

    /// Notes a delivery that cannot be decoded.
    fn reject(&self, error: &Error);

    /// Cancels a call whose caller has stopped waiting.
    fn cancel(&self, call: Abandoned);

    /// Passes the answer of a caller to the request that waits for it. Only servers ask.
    fn permit(&self, answer: Answer) {
        let _ = answer;
    }
}

/// The label of an endpoint handle, for the log.
#[derive(Clone, Debug)]
pub(crate) struct EndpointLabel {
    /// The kind of handle: `server`, `worker` or `listener`.
    pub(crate) role: &'static str,
    /// The service, the queue or the channel.
    pub(crate) name: Address,
}
