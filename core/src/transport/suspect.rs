//! Suspicion that a message ends the processes that handle it.

/// Suspicion that a message ends the processes that handle it.
///
/// A broker redelivers what a receiver held when its connection ended, and knows no cause. One of
/// the messages may have ended the process, and the others only stood beside it. So the backend
/// marks each of them as a suspect, and delivers suspects isolated: a receiver gets the next one
/// when it has settled the last. If a receiver ends again, its one isolated suspect is the likely
/// cause, and its crashes are counted.
///
/// The attempt of a suspect is not counted: it has as many attempts left as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspect {
    /// Set if the receiver holds no other isolated suspect until this one is settled.
    ///
    /// Core requeues a suspect that is not isolated; then the backend delivers it isolated.
    pub is_isolated: bool,
    /// Number of receivers that ended while this message was their isolated suspect.
    pub crashes: u32,
}

impl Suspect {
    /// Creates the suspicion on a message whose receiver has ended, and which is not isolated yet.
    #[must_use]
    pub const fn redelivered() -> Self {
        Self { is_isolated: false, crashes: 0 }
    }

    /// Creates the suspicion on an isolated message.
    #[must_use]
    pub const fn isolated(crashes: u32) -> Self {
        Self { is_isolated: true, crashes }
    }

    /// Returns whether the message crashes its receivers: whether it was begun `limit` times, and
    /// at least two receivers ended while it was isolated.
    ///
    /// The first receiver ended with other messages beside it, so that attempt proves nothing.
    pub(crate) fn is_convicted(self, attempt: u32, limit: u32) -> bool {
        self.crashes >= limit.saturating_sub(attempt).max(CRASHES_MIN)
    }
}

/// The smallest number of crashes that proves anything: an ordinary message may have caused one of
/// them, since ordinary messages run beside a suspect without crashes.
const CRASHES_MIN: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspect_is_begun_as_often_as_the_policy_allows() {
        for (attempt, limit, crashes) in
            [(1, 4, 3), (2, 4, 2), (1, 3, 2), (1, 1, 2), (4, 4, 2), (1, u32::MAX, u32::MAX - 1)]
        {
            let is_convicted = |crashes| Suspect::isolated(crashes).is_convicted(attempt, limit);
            assert!(is_convicted(crashes) && !is_convicted(crashes - 1), "{attempt} {limit}");
        }
        assert!(!Suspect::redelivered().is_convicted(1, 1));
    }
}
