//! The queue that an endpoint handle consumes: the part of a consumer that depends on the handle.
//!
//! Pullers, responders and subscribers implement [`ConsumedQueue`]. Everything else is the same
//! for all of them: windows, new channels after a loss, settlement.

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::{Address, Limits, Message, Result};

use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native;

/// Entry of a consumer in the health of its transport.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthEntry {
    /// An entry whose canaries go through the queue.
    Probed,
    /// An entry without canaries: consumers of other systems share the queue, and a canary is no
    /// message that they can read.
    Unprobed,
    /// No entry: the handle receives replies, and no work.
    None,
}

/// The queue of an endpoint handle, its bindings, and its codec.
///
/// One consumer task calls all methods, on the runtime of the transport. So
/// [`decode`](Self::decode) and [`takes_notice`](Self::takes_notice) must not block.
pub(crate) trait ConsumedQueue: Send + Sync + 'static {
    /// Set if the receiver gets an error after the queue was lost together with its messages.
    const REPORTS_LOSS: bool;

    /// The entry of the handle in the health of the transport.
    const HEALTH: HealthEntry = HealthEntry::Probed;

    /// Returns the role and the name of the endpoint handle.
    fn endpoint(&self) -> (EndpointRole, &Address);

    /// Returns the queue to declare and consume.
    fn queue(&self) -> &QueueSpec;

    /// Declares exchanges, and binds the queue to them. The queue exists. `is_new` is set for
    /// a handle that is being opened, and after the queue was lost.
    ///
    /// Called for each new channel, before the queue is consumed.
    fn bind(
        &self,
        connection: &SupervisedConnection,
        is_new: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes a delivery that is not for the receiver: a notice that bindings were lost.
    ///
    /// A notice is acknowledged, and never decoded.
    fn takes_notice(&self, _: &Raw) -> bool {
        false
    }

    /// Waits until the bindings of the queue were lost and added again. The receiver then gets an
    /// error. Without bindings, never.
    ///
    /// The consumer polls a new future for each delivery, so a signal must not get lost with a
    /// dropped future.
    fn bindings_lost(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Returns the number of the attempt, for a queue that isolates no suspects.
    fn attempt(&self, raw: &Raw) -> u32 {
        native::attempt(raw)
    }

    /// Decodes a delivery and takes its body.
    ///
    /// On success, the body has moved to the message. On an error, `raw` is still complete, since
    /// it may be dead-lettered whole.
    ///
    /// # Errors
    ///
    /// The receiver gets the error, and the delivery is discarded or dead-lettered.
    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message>;

    /// Returns how deliveries return to the queue.
    fn requeue_mode(&self) -> RequeueMode;

    /// Returns whether other consumers may share the queue. If the broker cancels the consumer of a
    /// shared queue, the deliveries that wait in its buffer are lost to it, since others get them.
    fn is_shared(&self) -> bool {
        self.requeue_mode() != RequeueMode::Broker
    }

    /// Cleans up at the broker after the receiver is dropped, or after opening has failed. Runs on
    /// a task of the transport, so closing the transport may abort the cleanup.
    fn close(&self, shared: &AmqpShared) -> impl Future<Output = ()> + Send;
}
