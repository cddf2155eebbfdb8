//! The unsettled entries of a consumer.

use super::entry::{QueueEntry, UnsettledEntry};

/// Unsettled entries by their tags. The slot of a settled entry is used again, so the slots are as
/// many as the most entries that were unsettled at once, which the window bounds.
#[derive(Default)]
pub(super) struct Unsettled {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    /// The number of entries that the slot has had, so that each has a tag of its own.
    generation: u32,
    entry: Option<UnsettledEntry>,
}

impl Unsettled {
    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Copies an entry, and returns its tag.
    pub(super) fn add(&mut self, entry: &mut QueueEntry) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            // A window is far smaller.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = self.slots.get_mut(at as usize) else { return u64::MAX };
        slot.entry = Some(UnsettledEntry::of(entry));
        u64::from(slot.generation) << 32 | u64::from(at)
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, tag: u64) -> Option<UnsettledEntry> {
        self.end(tag, Option::take)
    }

    /// Drops an entry where it is. Returns whether it was there.
    pub(super) fn drop_settled(&mut self, tag: u64) -> bool {
        let dropped = self.end(tag, |entry| {
            let is_there = entry.is_some();
            *entry = None;
            is_there.then_some(())
        });
        dropped.is_some()
    }

    /// Iterates over the entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &UnsettledEntry> {
        self.slots.iter().filter_map(|slot| slot.entry.as_ref())
    }

    /// Iterates over the entries, and takes them out.
    pub(super) fn into_entries(self) -> impl Iterator<Item = UnsettledEntry> {
        self.slots.into_iter().filter_map(|slot| slot.entry)
    }

    /// Ends an entry, and frees its slot.
    fn end<T>(
        &mut self,
        tag: u64,
        end: impl FnOnce(&mut Option<UnsettledEntry>) -> Option<T>,
    ) -> Option<T> {
        let at = tag & u64::from(u32::MAX);
        let slot = self.slots.get_mut(usize::try_from(at).ok()?)?;
        if u64::from(slot.generation) != tag >> 32 {
            return None;
        }
        let ended = end(&mut slot.entry)?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(u32::try_from(at).ok()?);
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_settled_once_by_its_own_tag() {
        let mut unsettled = Unsettled::default();
        let entry = || QueueEntry::new(Box::default());
        let (first, second) = (unsettled.add(&mut entry()), unsettled.add(&mut entry()));
        assert!(unsettled.drop_settled(first));
        assert!(!unsettled.drop_settled(first) && unsettled.take(first).is_none());
        let third = unsettled.add(&mut entry());
        assert_ne!(first, third, "the slot is used again");
        assert_eq!((unsettled.len(), unsettled.entries().count()), (2, 2));
        assert!(unsettled.take(second).is_some() && unsettled.drop_settled(third));
        assert_eq!((unsettled.len(), unsettled.into_entries().count()), (0, 0));
    }
}
