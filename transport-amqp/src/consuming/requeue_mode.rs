//! Ways to requeue a delivery.

use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_options::QueueOptions;

/// Way for a delivery to return to its queue, with the other outcomes that are possible.
///
/// The endpoint handle chooses the mode when it opens. Only [`BrokerCounts`](Self::BrokerCounts)
/// may turn into [`Counted`](Self::Counted) later, at a queue that turns out to count nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequeueMode {
    /// The broker requeues. No other outcome republishes the message. Used for the queue of one
    /// subscriber.
    Broker,
    /// The broker requeues. Declining or dead-lettering republishes the message. Used for the queue
    /// of a service.
    BrokerOrDeclined,
    /// The broker requeues and counts the attempts. Retrying or dead-lettering republishes the
    /// message. Used for passive quorum queues of jobs and of groups.
    BrokerCounts,
    /// The message is republished with its count of attempts. Used for all other queues of jobs and
    /// of groups.
    Counted,
}

impl RequeueMode {
    /// Returns the mode in which attempts on a queue with these options are counted.
    ///
    /// The broker's count does not distinguish a requeue from the end of a consumer. So the count
    /// is used only where suspects are not isolated.
    pub(crate) fn counting(options: &QueueOptions) -> Self {
        match options.queue_kind() {
            QueueKind::Quorum if options.is_passive() => Self::BrokerCounts,
            _ => Self::Counted,
        }
    }

    /// Returns whether each delivery from a queue of this kind carries its attempt number.
    pub(super) fn counts_attempts(self, kind: QueueKind) -> bool {
        match self {
            Self::Broker | Self::BrokerOrDeclined => kind == QueueKind::Quorum,
            Self::BrokerCounts | Self::Counted => true,
        }
    }

    /// Returns whether a delivery may have to be republished, so that its properties are kept.
    pub(super) fn may_republish(self) -> bool {
        self != Self::Broker
    }

    /// Returns whether deliveries that cannot be decoded are dead-lettered.
    pub(super) fn dead_letters_undecodable(self) -> bool {
        matches!(self, Self::BrokerCounts | Self::Counted)
    }
}
