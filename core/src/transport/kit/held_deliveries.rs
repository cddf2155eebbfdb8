//! Unsettled deliveries of an endpoint handle: window, credit, tags and outcomes, without I/O.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use super::DeliveryTags;
use crate::transport::{Outcome, Window};

/// Unsettled deliveries of one endpoint handle, at the side that passes them on: a broker, or the
/// part of a backend that pulls from one.
///
/// `T` is what settles a delivery at its source: a [`Receipt`](crate::transport::Receipt), the
/// number of a message at a broker, an offset. The table makes no I/O and has no lock: its owner
/// carries out each step that a method returns.
///
/// - **Window.** At most `window` deliveries are unsettled. [`take_credit`](Self::take_credit) says
///   how many more the source may send. A delivery beyond the window is returned by
///   [`hold`](Self::hold).
/// - **Tags.** [`hold`](Self::hold) gives each delivery a tag that is never used again, so that an
///   outcome of a lost connection settles nothing.
/// - **Outcomes.** A source that carries out every outcome itself gets it by
///   [`release`](Self::release). For a source that can only acknowledge, discard and requeue,
///   [`settle`](Self::settle) says the next step. A retry, a dead letter and a decline need a copy
///   of the message at another place: the copy is confirmed before the original is acknowledged. If
///   a process ends in between, the message is there twice, and never lost.
///
/// ```
/// use polywire_core::Window;
/// use polywire_core::transport::kit::{DeliveryTags, HeldDeliveries, SettleStep};
/// use polywire_core::transport::{Outcome, RetryAfter};
/// use std::time::Duration;
///
/// let mut held = HeldDeliveries::new(Window::new(2), &DeliveryTags::new());
/// assert_eq!(held.take_credit(), 2); // to be granted to the source
/// let tag = held.hold("job at offset 40").unwrap();
///
/// let retry = Outcome::Retry(Box::new(RetryAfter::new(Duration::from_secs(5), "busy")));
/// assert_eq!(held.settle(tag, retry.clone()), SettleStep::Copy(retry));
/// // The copy is published, with the delay. When the broker has confirmed it:
/// assert_eq!(held.copied(tag, true), SettleStep::Ack("job at offset 40"));
/// assert_eq!(held.take_credit(), 1);
/// ```
pub struct HeldDeliveries<T> {
    window: Window,
    tags: DeliveryTags,
    /// Deliveries that the source may send, and that have not arrived.
    granted: usize,
    held: BTreeMap<u64, Held<T>>,
}

/// Unsettled delivery.
struct Held<T> {
    source: T,
    /// Set while a copy is published that is not confirmed yet.
    is_copied: bool,
}

/// Next step to settle a delivery; see [`HeldDeliveries::settle`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the delivery stays unsettled at its source"]
#[non_exhaustive]
pub enum SettleStep<T> {
    /// Nothing: no delivery waits for this. It was settled before, or belonged to a connection that
    /// was lost.
    Nothing,
    /// Acknowledge the delivery at its source.
    Ack(T),
    /// Discard the delivery at its source.
    Discard(T),
    /// Requeue the delivery at its source.
    Requeue(T),
    /// Publish a copy for this outcome, and report the confirm by [`HeldDeliveries::copied`]. The
    /// outcome is a retry, a dead letter or a decline.
    Copy(Outcome),
}

impl<T> HeldDeliveries<T> {
    /// Creates an empty table.
    #[must_use]
    pub fn new(window: Window, tags: &DeliveryTags) -> Self {
        Self { window, tags: tags.clone(), granted: 0, held: BTreeMap::new() }
    }

    /// Returns the number of unsettled deliveries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Returns whether no delivery is unsettled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Returns whether the window has room for one more delivery.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held.len() < self.window.messages()
    }

    /// Returns the number of further deliveries that the source may send, and counts them as
    /// granted. Call it after the opening and after each settlement.
    pub fn take_credit(&mut self) -> usize {
        let used = self.held.len().saturating_add(self.granted);
        let credit = self.window.messages().saturating_sub(used);
        self.granted += credit;
        credit
    }

    /// Holds a delivery that has arrived, and returns its tag.
    ///
    /// # Errors
    ///
    /// The delivery itself if the window is full: the source has sent more than it may. The caller
    /// requeues it.
    pub fn hold(&mut self, source: T) -> Result<u64, T> {
        if !self.has_room() {
            return Err(source);
        }
        self.granted = self.granted.saturating_sub(1);
        let tag = self.tags.next_tag();
        self.held.insert(tag, Held { source, is_copied: false });
        Ok(tag)
    }

    /// Returns the delivery with this tag, for instance to publish its copy.
    #[must_use]
    pub fn get(&self, tag: u64) -> Option<&T> {
        self.held.get(&tag).map(|held| &held.source)
    }

    /// Returns the next step for an outcome of a receiver.
    ///
    /// A delivery whose outcome needs a copy keeps its place in the window until the copy is
    /// confirmed, because the source still counts the original.
    pub fn settle(&mut self, tag: u64, outcome: Outcome) -> SettleStep<T> {
        match outcome {
            Outcome::Ack => self.released(tag, SettleStep::Ack),
            Outcome::Discard => self.released(tag, SettleStep::Discard),
            Outcome::Requeue => self.released(tag, SettleStep::Requeue),
            copy @ (Outcome::Decline(_) | Outcome::Retry(_) | Outcome::DeadLetter(_)) => {
                match self.held.get_mut(&tag) {
                    Some(held) if !held.is_copied => {
                        held.is_copied = true;
                        SettleStep::Copy(copy)
                    }
                    _ => SettleStep::Nothing,
                }
            }
        }
    }

    /// Returns the next step after the broker has confirmed a copy, or refused it: the original is
    /// acknowledged, or requeued.
    pub fn copied(&mut self, tag: u64, is_confirmed: bool) -> SettleStep<T> {
        if !self.held.get(&tag).is_some_and(|held| held.is_copied) {
            return SettleStep::Nothing;
        }
        let step: fn(T) -> SettleStep<T> =
            if is_confirmed { SettleStep::Ack } else { SettleStep::Requeue };
        self.held.remove(&tag).map_or(SettleStep::Nothing, |held| step(held.source))
    }

    /// Removes a delivery that its source settles with any outcome. `None` if it was settled
    /// before, belonged to a lost connection, or waits for the confirm of a copy.
    pub fn release(&mut self, tag: u64) -> Option<T> {
        if self.held.get(&tag).is_none_or(|held| held.is_copied) {
            return None;
        }
        self.held.remove(&tag).map(|held| held.source)
    }

    /// Removes all deliveries, oldest first, and forgets the credit: the receiver or the source is
    /// gone. The caller requeues them where the source does not do so itself. A copy that is not
    /// confirmed yet may exist beside its original.
    #[must_use = "the deliveries stay unsettled at their source"]
    pub fn take_all(&mut self) -> Vec<T> {
        self.granted = 0;
        std::mem::take(&mut self.held).into_values().map(|held| held.source).collect()
    }

    fn released(&mut self, tag: u64, step: fn(T) -> SettleStep<T>) -> SettleStep<T> {
        self.release(tag).map_or(SettleStep::Nothing, step)
    }
}

impl<T> fmt::Debug for HeldDeliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldDeliveries")
            .field("window", &self.window)
            .field("granted", &self.granted)
            .field("tags", &self.held.keys())
            .finish_non_exhaustive()
    }
}
