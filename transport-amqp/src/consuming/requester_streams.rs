//! The streams of one requester: its replies, and the notices about its servers.

use std::sync::Weak;

use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, ServerNotice};
use polywire_core::{Message, Result};
use tokio::sync::mpsc;

/// Stream of replies for one requester. Unbounded, because each item ends one call of the
/// requester, and core bounds the calls in flight.
pub(crate) type RequesterReplies = mpsc::UnboundedReceiver<Result<Delivery>>;

/// Stream of notices about the servers of one requester.
pub(crate) type ServerNotices = mpsc::Receiver<ServerNotice>;

/// Events that the sender of batches has to know. No method waits.
pub(crate) trait BatchEvents: Send + Sync {
    /// A server reads batches of up to this number of calls.
    fn announced(&self, calls: usize);

    /// A call has got its outcome.
    fn ended(&self, call: CallId);

    /// All calls in flight have failed.
    fn all_ended(&self);

    /// A batch with this call has come back, since its server was lost.
    fn returned(&self, call: CallId, message: Message);
}

/// The sending ends of a requester's streams.
pub(super) struct RequesterStreams {
    /// The sender of batches, if the requester has one.
    pub(super) batches: Option<Weak<dyn BatchEvents>>,
    pub(super) replies: mpsc::UnboundedSender<Result<Delivery>>,
    pub(super) notices: mpsc::Sender<ServerNotice>,
}

impl RequesterStreams {
    /// Opens the streams of a requester. Returns their receiving ends, too.
    pub(super) fn open() -> (Self, RequesterReplies, ServerNotices) {
        let (replies, received) = mpsc::unbounded_channel();
        let (notices, noticed) = mpsc::channel(NOTICES_MAX);
        (Self { batches: None, replies, notices }, received, noticed)
    }
}

/// The most notices that wait for a requester to read them.
const NOTICES_MAX: usize = 1024;
