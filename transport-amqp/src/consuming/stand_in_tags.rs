//! Tags of deliveries that are not settled at the broker by themselves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::lock::lock;

/// A share of a broker's delivery, which is settled when all its shares are.
pub(crate) trait DeliveryShare: Send + Sync + 'static {
    /// Settles the share.
    fn settle(&self, end: ShareEnd);

    /// Returns whether the delivery can still be settled at the broker.
    fn can_settle(&self) -> bool;
}

/// The end of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareEnd {
    /// The share is done.
    Done,
    /// A copy of the share was published: the delivery is to be acknowledged at once, if its other
    /// shares have ended.
    Copied,
    /// The share is to be delivered again, with the whole delivery.
    Returned,
}

/// Shares by the tags that stand for them where a delivery is republished. Each is removed when it
/// is settled.
#[derive(Default)]
pub(super) struct StandInTags {
    shares: Mutex<FxHashMap<u64, Arc<dyn DeliveryShare>>>,
    last: AtomicU64,
}

impl StandInTags {
    /// Adds a share, and returns its number.
    pub(super) fn add(&self, share: Arc<dyn DeliveryShare>) -> u64 {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut shares = lock(&self.shares);
        // One whose channel was lost meanwhile is never settled.
        if shares.len() >= SHARES_MAX {
            shares.retain(|_, share| share.can_settle());
        }
        shares.insert(number, share);
        number
    }

    /// Settles a share. A second call has no effect.
    pub(super) fn settle(&self, number: u64, end: ShareEnd) {
        let share = lock(&self.shares).remove(&number);
        if let Some(share) = share {
            share.settle(end);
        }
    }

    /// Returns whether a share can still be settled.
    pub(super) fn can_settle(&self, number: u64) -> bool {
        let share = lock(&self.shares).get(&number).cloned();
        share.is_some_and(|share| share.can_settle())
    }
}

/// The number of shares from which on those are removed that can no longer be settled.
const SHARES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counted(AtomicU64);

    impl DeliveryShare for Counted {
        fn settle(&self, end: ShareEnd) {
            let count = match end {
                ShareEnd::Done => 1,
                ShareEnd::Copied => 10,
                ShareEnd::Returned => 100,
            };
            self.0.fetch_add(count, Ordering::Relaxed);
        }

        fn can_settle(&self) -> bool {
            true
        }
    }

    #[test]
    fn share_is_settled_once() {
        let (tags, share) = (StandInTags::default(), Arc::new(Counted::default()));
        let numbers = [(); 3].map(|()| tags.add(share.clone()));
        assert!(tags.can_settle(numbers[0]));
        tags.settle(numbers[0], ShareEnd::Done);
        tags.settle(numbers[0], ShareEnd::Returned);
        tags.settle(numbers[1], ShareEnd::Copied);
        tags.settle(numbers[2], ShareEnd::Returned);
        assert_eq!(share.0.load(Ordering::Relaxed), 111);
        assert!(!tags.can_settle(numbers[0]));
    }
}
