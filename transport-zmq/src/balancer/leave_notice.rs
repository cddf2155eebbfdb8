//! A server that leaves: it gets no more requests, and the answer that says so. No I/O.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::lock::lock;
use crate::wire::Frames;

/// The notice of a server that it leaves, and the number of senders that may be about to send it a
/// request.
///
/// The answer proves to the server that it has all requests. So it must follow the last of them,
/// which the senders of other threads may not have handed over yet: the last of these sends it.
/// Each sender [enters](Self::enter) before it checks the notice, and the notice is recorded before
/// the senders are counted. So one of the two sees the other.
#[derive(Default)]
pub(super) struct LeaveNotice {
    /// Not 0 while the server leaves. Counts down, see [`age`](Self::age).
    age_left: AtomicU8,
    /// The senders that have entered.
    senders: AtomicUsize,
    /// The answer, until it is sent.
    answer: Mutex<Option<Frames>>,
}

/// Prunings after which a notice is forgotten: 3, which take 10 seconds at least. A notice may be
/// read late, when the next server is connected already. That server says that it serves on, unless
/// it is of an earlier version.
const AGE_MAX: u8 = 3;

impl LeaveNotice {
    /// Returns whether the server leaves.
    pub(super) fn is_received(&self) -> bool {
        self.age_left.load(Ordering::SeqCst) != 0
    }

    /// Records a notice with its answer, or that the server serves on. Returns whether the answer
    /// has to be sent, and no other waits to be.
    pub(super) fn record(&self, answer: Option<Frames>) -> bool {
        let mut pending = lock(&self.answer);
        let is_new = pending.is_none() && answer.is_some();
        self.age_left.store(if answer.is_some() { AGE_MAX } else { 0 }, Ordering::SeqCst);
        *pending = answer;
        is_new
    }

    /// Counts a sender.
    pub(super) fn enter(&self) {
        self.senders.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends the count of a sender. Returns whether it was the last one, and has to send the answer.
    pub(super) fn exit(&self) -> bool {
        self.senders.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_received()
    }

    /// Sends the answer, unless a sender has entered or there is no room. Returns whether there is
    /// none left to send.
    pub(super) fn answer_now(&self, send: impl FnOnce(Frames) -> Result<(), Frames>) -> bool {
        let mut pending = lock(&self.answer);
        if pending.is_some() && self.senders.load(Ordering::SeqCst) == 0 {
            *pending = pending.take().and_then(|answer| send(answer).err());
        }
        pending.is_none()
    }

    /// Lets a notice grow old, and forgets it in the end. Returns whether it is forgotten now.
    pub(super) fn age(&self) -> bool {
        let older = |age: u8| age.checked_sub(1);
        self.age_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, older) == Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Option<Frames> {
        Some(Frames { head: bytes::Bytes::from_static(b"notice"), body: None })
    }

    #[test]
    fn answer_follows_the_last_sender() {
        let leave = LeaveNotice::default();
        leave.enter();
        assert!(!leave.is_received());
        leave.record(notice());
        assert!(!leave.answer_now(|_| panic!("a request may follow")));
        assert!(leave.exit());
        // Without room, the answer stays.
        assert!(!leave.answer_now(Err));
        assert!(leave.answer_now(|answer| {
            assert_eq!(Some(answer), notice());
            Ok(())
        }));
        assert!(leave.is_received());
    }

    #[test]
    fn notice_of_a_former_server_is_forgotten() {
        let leave = LeaveNotice::default();
        leave.record(notice());
        leave.record(None);
        assert!(!leave.is_received() && leave.answer_now(|_| panic!("nothing is to be answered")));
        leave.record(notice());
        assert_eq!((0..=AGE_MAX).filter(|_| leave.age()).count(), 1);
        assert!(!leave.is_received());
    }
}
