//! The acknowledgements of a channel that wait to be sent together.

use std::collections::BTreeSet;

/// The acknowledgements that are not sent yet, and the deliveries that are not settled.
///
/// `basic.ack` with `multiple` acknowledges all deliveries of the channel up to a tag. So it may
/// only be sent for a tag below which nothing is unsettled. The broker counts the deliveries of a
/// channel from 1. A delivery below a settled one has arrived as well, though perhaps no task has
/// read it yet.
///
/// The windows of the consumers bound both collections.
#[derive(Default)]
pub(super) struct PendingAcks {
    /// The highest tag that was settled.
    highest: u64,
    /// Unsettled tags below `highest`.
    unsettled: BTreeSet<u64>,
    /// Tags to acknowledge, which count as settled.
    acks: Vec<u64>,
}

/// The acknowledgements to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DueAcks {
    /// The tag up to which all deliveries are acknowledged, with `multiple`.
    pub(super) up_to: Option<u64>,
    /// Tags to acknowledge one by one.
    pub(super) single: Vec<u64>,
}

impl PendingAcks {
    /// Notes that a delivery was settled in another way.
    pub(super) fn note_settled(&mut self, tag: u64) {
        if tag > self.highest {
            self.unsettled.extend(self.highest + 1..tag);
            self.highest = tag;
        } else {
            self.unsettled.remove(&tag);
        }
    }

    /// Adds an acknowledgement. Returns the number of those that wait.
    pub(super) fn add(&mut self, tag: u64) -> usize {
        self.note_settled(tag);
        self.acks.push(tag);
        self.acks.len()
    }

    /// Takes the acknowledgements that wait. All are to be sent.
    pub(super) fn take(&mut self) -> DueAcks {
        let first_unsettled = self.unsettled.first().copied().unwrap_or(u64::MAX);
        let mut due = DueAcks::default();
        let mut count = 0;
        for tag in self.acks.drain(..) {
            if tag < first_unsettled {
                count += 1;
                due.up_to = due.up_to.max(Some(tag));
            } else {
                due.single.push(tag);
            }
        }
        if count == 1 {
            due.single.extend(due.up_to.take());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(acks: &mut PendingAcks) -> (Option<u64>, Vec<u64>) {
        let DueAcks { up_to, single } = acks.take();
        (up_to, single)
    }

    #[test]
    fn acknowledgements_are_sent_together_where_nothing_below_is_unsettled() {
        let mut acks = PendingAcks::default();
        for tag in [2, 1, 3] {
            acks.add(tag);
        }
        assert_eq!(take(&mut acks), (Some(3), vec![]));
        assert_eq!(take(&mut acks), (None, vec![]));
        acks.add(4);
        assert_eq!(take(&mut acks), (None, vec![4]), "a lone one is exact");
        // Delivery 5 is with its handler.
        for tag in [8, 6] {
            acks.add(tag);
        }
        assert_eq!(take(&mut acks), (None, vec![8, 6]));
        acks.add(5);
        acks.add(7);
        assert_eq!(take(&mut acks), (Some(7), vec![]));
    }

    #[test]
    fn delivery_that_is_settled_in_another_way_does_not_hold_up_the_others() {
        let mut acks = PendingAcks::default();
        acks.note_settled(2);
        acks.add(4);
        acks.add(1);
        assert_eq!(take(&mut acks), (None, vec![4, 1]), "delivery 3 is unsettled");
        acks.note_settled(3);
        acks.add(6);
        acks.add(5);
        assert_eq!(take(&mut acks), (Some(6), vec![]));
    }

    #[test]
    fn no_delivery_is_acknowledged_before_it_is_settled() {
        let random = &mut fastrand::Rng::with_seed(7);
        let (mut acks, mut open, mut acked) = (PendingAcks::default(), Vec::new(), Vec::new());
        let (mut last, mut expected) = (0, Vec::new());
        for _ in 0..10_000 {
            match random.u8(..4) {
                0 | 1 if open.len() < 50 => {
                    last += 1;
                    open.push(last);
                    acked.push(false);
                }
                2 if !open.is_empty() => {
                    let tag = open.swap_remove(random.usize(..open.len()));
                    if random.u8(..8) == 0 {
                        acks.note_settled(tag);
                        acked[tag as usize - 1] = true;
                    } else {
                        acks.add(tag);
                        expected.push(tag);
                    }
                }
                _ => {
                    let DueAcks { up_to, single } = acks.take();
                    for tag in (1..=up_to.unwrap_or(0)).chain(single) {
                        assert!(!open.contains(&tag), "{tag} is unsettled");
                        acked[tag as usize - 1] = true;
                    }
                    for tag in expected.drain(..) {
                        assert!(acked[tag as usize - 1], "{tag} was not acknowledged");
                    }
                }
            }
        }
    }
}
