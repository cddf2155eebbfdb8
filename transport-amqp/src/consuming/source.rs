//! The part of a consumer that depends on its endpoint handle.

use lapin::Channel;
use lapin::message::Delivery as Raw;
use polywire_core::{Limits, Message, Result};

use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::Shared;
use crate::topology::queue::QueueSpec;

/// The queue of an endpoint handle, its bindings, and its codec.
pub(crate) trait ConsumerSource: Send + Sync + 'static {
    /// Set if the receiver gets an error after the queue was lost together with its messages.
    const REPORTS_LOSS: bool;

    fn queue(&self) -> &QueueSpec;

    /// Declares exchanges, and binds the queue to them. The queue exists. `is_new` is set if the
    /// queue was created just now, as far as is known.
    fn bind(&self, channel: &Channel, is_new: bool) -> impl Future<Output = Result<()>> + Send;

    /// Decodes a delivery and takes its body.
    ///
    /// # Errors
    ///
    /// The receiver gets the error, and the delivery is discarded or dead-lettered.
    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message>;

    fn requeue_mode(&self) -> RequeueMode;

    /// Cleans up after the receiver is dropped.
    fn close(&self, shared: &Shared) -> impl Future<Output = ()> + Send;
}
