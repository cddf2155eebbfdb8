//! The buffer for messages that wait to be published.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use super::publish_request::PublishRequest;
use crate::buffer_bounds::BufferBounds;
use crate::lock::lock;

/// A bounded buffer of messages, and a queue of senders that wait for room in it.
///
/// Messages in the buffer wait for a channel. A message without room stays with its sender, which
/// feels the bound: only its place in the queue is here, so that messages leave in the order in
/// which they arrived.
///
/// The publish queue owns the buffer, and the lock of the queue covers all of it. The numbers
/// ascend in both queues, and all those in `overflow` are larger than those in `requests`. While a
/// sender waits in `overflow`, its message or an earlier one does not fit.
pub(super) struct PublishBuffer {
    bounds: BufferBounds,
    /// Messages with their numbers, in order. Their sum of sizes is `bytes`.
    requests: VecDeque<(u64, PublishRequest)>,
    bytes: usize,
    /// One entry per waiting sender. A sender that stops waiting withdraws its entry, so the
    /// number of senders bounds the queue.
    overflow: VecDeque<(u64, Weak<OverflowSlot>)>,
    /// Number of the last message that arrived.
    last: u64,
}

/// A message without room in the buffer, owned by its sender.
///
/// The buffer takes the message out when there is room. The slot is empty from then on.
///
/// The lock of the publish queue is taken before the lock of a slot.
pub(super) struct OverflowSlot(Mutex<Option<PublishRequest>>);

/// The position of a message in the buffer or in the queue for it.
pub(super) struct BufferSlot {
    /// Number of the message, in the order of arrival.
    pub(super) number: u64,
    /// The message itself, until there is room for it.
    #[expect(
        dead_code,
        reason = "the sender owns it, and the buffer moves the message out when there is room"
    )]
    pub(super) overflow: Option<Arc<OverflowSlot>>,
}

impl PublishBuffer {
    /// Creates an empty buffer.
    pub(super) fn new(bounds: BufferBounds) -> Self {
        let (requests, overflow) = (VecDeque::new(), VecDeque::new());
        Self { bounds, requests, bytes: 0, overflow, last: 0 }
    }

    /// Returns whether no message waits. Then none waits for room either: the first message always
    /// fits into an empty buffer.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Adds a message at the end: to the buffer, or to the queue for it if there is no room.
    ///
    /// The caller keeps the slot as long as the sender waits, and then
    /// [withdraws](Self::withdraw) the message by its number.
    pub(super) fn push(&mut self, request: PublishRequest) -> BufferSlot {
        self.last += 1;
        let number = self.last;
        if self.overflow.is_empty() && self.has_room(&request) {
            self.insert(number, request);
            return BufferSlot { number, overflow: None };
        }
        let slot = Arc::new(OverflowSlot(Mutex::new(Some(request))));
        self.overflow.push_back((number, Arc::downgrade(&slot)));
        BufferSlot { number, overflow: Some(slot) }
    }

    /// Returns the bytes of the next message; `None` if no message waits.
    pub(super) fn next_size(&self) -> Option<usize> {
        self.requests.front().map(|(_, request)| request.size())
    }

    /// Removes the next message, and moves messages up that waited for its room.
    pub(super) fn pop(&mut self) -> Option<PublishRequest> {
        let (_, request) = self.requests.pop_front()?;
        self.release(&request);
        Some(request)
    }

    /// Removes a message from the buffer or from the queue for it; `None` if it was published.
    pub(super) fn withdraw(&mut self, number: u64) -> Option<PublishRequest> {
        if let Some(at) = position(&self.overflow, number) {
            let (_, slot) = self.overflow.remove(at)?;
            let request = slot.upgrade().and_then(|slot| lock(&slot.0).take());
            // The messages behind it may be small enough to fit.
            self.admit();
            return request;
        }
        let (_, request) = self.requests.remove(position(&self.requests, number)?)?;
        self.release(&request);
        Some(request)
    }

    /// Returns whether a message is in the buffer or in the queue for it.
    pub(super) fn contains(&self, number: u64) -> bool {
        position(&self.overflow, number).is_some() || position(&self.requests, number).is_some()
    }

    /// Removes all messages, in order.
    pub(super) fn drain(&mut self) -> Vec<PublishRequest> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// Subtracts a message that has left `requests`, and moves up those that fit now.
    fn release(&mut self, request: &PublishRequest) {
        self.bytes -= request.size();
        self.admit();
    }

    /// Moves messages from the queue to the buffer, as far as there is room.
    fn admit(&mut self) {
        while let Some((number, slot)) = self.overflow.front() {
            let (number, slot) = (*number, slot.upgrade());
            if let Some(slot) = slot {
                let mut request = lock(&slot.0);
                if request.as_ref().is_some_and(|request| !self.has_room(request)) {
                    return;
                }
                if let Some(request) = request.take() {
                    self.insert(number, request);
                }
            }
            self.overflow.pop_front();
        }
    }

    fn has_room(&self, request: &PublishRequest) -> bool {
        self.bounds.admit(self.requests.len(), self.bytes, request.size())
    }

    fn insert(&mut self, number: u64, request: PublishRequest) {
        self.bytes += request.size();
        self.requests.push_back((number, request));
    }
}

/// Returns the index of an entry by its number. The numbers of a queue ascend.
fn position<T>(queue: &VecDeque<(u64, T)>, number: u64) -> Option<usize> {
    queue.binary_search_by_key(&number, |(number, _)| *number).ok()
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;

    use super::super::outcome_slot::outcome_slot;
    use super::*;
    use crate::wire::OutgoingMessage;

    fn buffer(messages: usize) -> PublishBuffer {
        PublishBuffer::new(BufferBounds { messages, bytes: 10_000 })
    }

    fn request(name: u32, bytes: usize) -> PublishRequest {
        let body = vec![0; bytes].into();
        let message =
            OutgoingMessage::to_queue(name.to_string().into(), BasicProperties::default(), body);
        let size = PublishRequest::size_of(&message);
        PublishRequest::new(message, size, outcome_slot(false).0)
    }

    fn names(requests: &[PublishRequest]) -> Vec<u32> {
        let name = |request: &PublishRequest| request.message.routing_key.as_str().parse().unwrap();
        requests.iter().map(name).collect()
    }

    fn overflows(buffer: &PublishBuffer, slot: &BufferSlot) -> bool {
        position(&buffer.overflow, slot.number).is_some()
    }

    #[test]
    fn order_is_kept_beyond_the_bounds() {
        let mut buffer = buffer(2);
        let slots: Vec<_> = (0..5).map(|name| buffer.push(request(name, 1))).collect();
        assert_eq!(buffer.requests.len(), 2, "the buffer is bounded");
        assert!(!overflows(&buffer, &slots[1]) && overflows(&buffer, &slots[2]));
        assert_eq!(names(buffer.pop().as_slice()), [0]);
        assert_eq!(buffer.requests.len(), 2, "the next sender got the room");
        assert_eq!(names(&buffer.drain()), [1, 2, 3, 4]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut buffer = buffer(10);
        let slots: Vec<_> = (0..3).map(|name| buffer.push(request(name, 6_000))).collect();
        assert_eq!(buffer.requests.len(), 1);
        // Senders without room own their messages.
        drop(slots);
        assert_eq!(names(&buffer.drain()), [0]);
        assert!(buffer.overflow.is_empty() && buffer.bytes == 0);
    }

    #[test]
    fn withdrawn_messages_leave_no_trace() {
        let mut buffer = buffer(2);
        let slots: Vec<_> = (0..4).map(|name| buffer.push(request(name, 1))).collect();
        assert_eq!(names(buffer.withdraw(slots[2].number).as_slice()), [2]);
        assert_eq!(names(buffer.withdraw(slots[0].number).as_slice()), [0]);
        assert!(buffer.withdraw(slots[0].number).is_none());
        assert_eq!(names(&buffer.drain()), [1, 3]);
    }

    #[test]
    fn large_message_blocks_later_ones_until_it_is_withdrawn() {
        let mut buffer = buffer(10);
        let _first = buffer.push(request(0, 5_000));
        let large = buffer.push(request(1, 9_000));
        let small = buffer.push(request(2, 1));
        assert!(overflows(&buffer, &small), "no message overtakes");
        buffer.withdraw(large.number).unwrap();
        assert!(!overflows(&buffer, &small));
    }
}
