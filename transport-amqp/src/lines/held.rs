//! What waits to be published, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use super::Parcel;
use crate::bounds::Bounds;
use crate::error::lock;

/// A buffer with bounds, and the queue of those for whom there is no room in it.
///
/// What is in the buffer waits for a line. What is not waits for room, and stays with its sender,
/// who feels it: here is only its place in the queue, so that the order is that in which everything
/// came.
pub(super) struct Held {
    bounds: Bounds,
    parcels: VecDeque<(u64, Parcel)>,
    bytes: usize,
    /// As long as there are senders that wait, each of whom takes its place away when it goes.
    outside: VecDeque<(u64, Weak<Outside>)>,
    last: u64,
}

/// A message that waits for room, kept by its sender.
pub(super) struct Outside(Mutex<Option<Parcel>>);

/// Where a message waits.
pub(super) struct Place {
    pub(super) number: u64,
    /// The message itself, until there is room.
    #[expect(
        dead_code,
        reason = "it is kept here for as long as its sender waits, and taken from there"
    )]
    pub(super) outside: Option<Arc<Outside>>,
}

impl Held {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, parcels: VecDeque::new(), bytes: 0, outside: VecDeque::new(), last: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Puts a message last.
    pub(super) fn put(&mut self, parcel: Parcel) -> Place {
        self.last += 1;
        let number = self.last;
        if self.outside.is_empty() && self.has_room(&parcel) {
            self.take_in(number, parcel);
            return Place { number, outside: None };
        }
        let outside = Arc::new(Outside(Mutex::new(Some(parcel))));
        self.outside.push_back((number, Arc::downgrade(&outside)));
        Place { number, outside: Some(outside) }
    }

    /// The bytes of the message whose turn it is.
    pub(super) fn next_size(&self) -> Option<usize> {
        self.parcels.front().map(|(_, parcel)| parcel.size())
    }

    /// Takes the message whose turn it is.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        let (_, parcel) = self.parcels.pop_front()?;
        self.let_go(&parcel);
        Some(parcel)
    }

    /// Takes a message out, wherever it waits; `None` if it is on its way.
    pub(super) fn withdraw(&mut self, number: u64) -> Option<Parcel> {
        if let Ok(at) = self.outside.binary_search_by_key(&number, |(number, _)| *number) {
            let (_, outside) = self.outside.remove(at)?;
            let parcel = outside.upgrade().and_then(|outside| lock(&outside.0).take());
            // What waited behind it may be small enough.
            self.admit();
            return parcel;
        }
        let at = self.parcels.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let (_, parcel) = self.parcels.remove(at)?;
        self.let_go(&parcel);
        Some(parcel)
    }

    /// Whether a message waits here, for a line or for room.
    pub(super) fn contains(&self, number: u64) -> bool {
        self.is_outside(number)
            || self.parcels.binary_search_by_key(&number, |(number, _)| *number).is_ok()
    }

    fn is_outside(&self, number: u64) -> bool {
        self.outside.binary_search_by_key(&number, |(number, _)| *number).is_ok()
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<Parcel> {
        let mut all = Vec::new();
        while let Some(parcel) = self.take() {
            all.push(parcel);
        }
        all
    }

    fn let_go(&mut self, parcel: &Parcel) {
        self.bytes -= parcel.size();
        self.admit();
    }

    /// Lets in those who wait, as far as there is room.
    fn admit(&mut self) {
        while let Some((number, outside)) = self.outside.front() {
            let (number, outside) = (*number, outside.upgrade());
            if let Some(outside) = outside {
                let mut kept = lock(&outside.0);
                if kept.as_ref().is_some_and(|parcel| !self.has_room(parcel)) {
                    return;
                }
                if let Some(parcel) = kept.take() {
                    self.take_in(number, parcel);
                }
            }
            self.outside.pop_front();
        }
    }

    fn has_room(&self, parcel: &Parcel) -> bool {
        self.bounds.admit(self.parcels.len(), self.bytes, parcel.size())
    }

    fn take_in(&mut self, number: u64, parcel: Parcel) {
        self.bytes += parcel.size();
        self.parcels.push_back((number, parcel));
    }
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;

    use super::*;
    use crate::wire::Publishing;

    fn held(messages: usize) -> Held {
        Held::new(Bounds { messages, bytes: 10_000 })
    }

    fn parcel(name: u32, bytes: usize) -> Parcel {
        let body = vec![0; bytes].into();
        let message =
            Publishing::to_queue(name.to_string().into(), BasicProperties::default(), body);
        Parcel::new(message, None).0
    }

    fn names(parcels: &[Parcel]) -> Vec<u32> {
        parcels.iter().map(|parcel| parcel.message.routing_key.as_str().parse().unwrap()).collect()
    }

    #[test]
    fn order_is_kept_over_the_bounds() {
        let mut held = held(2);
        let places: Vec<_> = (0..5).map(|name| held.put(parcel(name, 1))).collect();
        assert_eq!(held.parcels.len(), 2, "the buffer is bounded");
        assert!(!held.is_outside(places[1].number) && held.is_outside(places[2].number));
        assert_eq!(names(held.take().as_slice()), [0]);
        assert_eq!(held.parcels.len(), 2, "who waited was let in");
        assert_eq!(names(&held.drain()), [1, 2, 3, 4]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut held = held(10);
        let places: Vec<_> = (0..3).map(|name| held.put(parcel(name, 6_000))).collect();
        assert_eq!(held.parcels.len(), 1);
        drop(places);
        // Their senders are gone, and what they kept with them.
        assert_eq!(names(&held.drain()), [0]);
        assert!(held.outside.is_empty() && held.bytes == 0);
    }

    #[test]
    fn withdrawn_messages_leave_no_trace() {
        let mut held = held(2);
        let places: Vec<_> = (0..4).map(|name| held.put(parcel(name, 1))).collect();
        assert_eq!(names(held.withdraw(places[2].number).as_slice()), [2]);
        assert_eq!(names(held.withdraw(places[0].number).as_slice()), [0]);
        assert!(held.withdraw(places[0].number).is_none());
        assert_eq!(names(&held.drain()), [1, 3]);
    }

    #[test]
    fn large_message_holds_up_those_behind_it_until_it_goes() {
        let mut held = held(10);
        let _first = held.put(parcel(0, 5_000));
        let large = held.put(parcel(1, 9_000));
        let small = held.put(parcel(2, 1));
        assert!(held.is_outside(small.number), "nobody overtakes");
        held.withdraw(large.number).unwrap();
        assert!(!held.is_outside(small.number));
    }
}
