//! Tests against a model of the engine, which attaches returned messages to any confirm.

use std::collections::VecDeque;

use fastrand::Rng;
use polywire_core::ErrorKind;

use super::*;

fn key(n: u32) -> ReturnKey {
    let properties = BasicProperties::default().with_message_id(n.to_string().into());
    ReturnKey::new("queue".into(), &properties)
}

/// The engine's queue of returned messages: the oldest goes with the next confirm, of any message.
#[derive(Default)]
struct Engine {
    returned: VecDeque<u32>,
}

impl Engine {
    fn confirm(&mut self, n: u32) -> Confirm<u32> {
        let returned = self.returned.pop_front().map(key);
        Confirm { return_key: Some(key(n)), verdict: Verdict::Acked, returned, waiter: n }
    }
}

fn check(decided: &[(u32, PublishOutcome)], is_returned: impl Fn(u32) -> bool) -> usize {
    for (n, outcome) in decided {
        assert!(
            matches!(outcome, PublishOutcome::Returned) == is_returned(*n),
            "{n} ended as {outcome:?}"
        );
    }
    decided.len()
}

/// Confirms arrive in any order, and batches end anywhere.
#[test]
fn each_message_gets_its_own_outcome() {
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let share = rng.u32(1..=10);
        let is_returned = |n: u32| n % 10 < share;
        let (mut engine, mut matcher) = (Engine::default(), ReturnMatcher::new());
        let (mut next, mut pending, mut decided) = (0_u32, Vec::new(), 0);
        while next < 500 || !pending.is_empty() {
            for _ in 0..rng.u32(0..20).min(500 - next) {
                pending.push(next);
                if is_returned(next) {
                    engine.returned.push_back(next);
                }
                next += 1;
            }
            let mut batch = Vec::new();
            for _ in 0..rng.usize(0..20).min(pending.len()) {
                batch.push(engine.confirm(pending.swap_remove(rng.usize(0..pending.len()))));
            }
            decided += check(&matcher.next(batch, pending.len()), is_returned);
        }
        decided += check(&matcher.next(Vec::new(), 0), is_returned);
        assert_eq!(decided, next as usize, "each message has an outcome");
        assert!(!matcher.is_waiting() && matcher.returned.is_empty());
    }
}

#[test]
fn return_that_comes_with_a_later_confirm_is_waited_for() {
    let mut matcher = ReturnMatcher::new();
    let with = |n, returned| Confirm {
        return_key: Some(key(n)),
        verdict: Verdict::Acked,
        returned: Some(key(returned)),
        waiter: n,
    };
    // Both were returned, and the confirm of the second arrives first.
    assert!(matcher.next(vec![with(2, 1)], 1).is_empty());
    assert!(matcher.next(Vec::new(), 1).is_empty(), "the outcome of 2 is not certain yet");
    let decided = matcher.next(vec![with(1, 2)], 0);
    assert!(matches!(decided[..], [(2, PublishOutcome::Returned)]));
    assert!(matches!(matcher.next(Vec::new(), 0)[..], [(1, PublishOutcome::Returned)]));
}

#[test]
fn undecided_outcomes_are_unknown_when_the_channel_is_lost() {
    let mut matcher = ReturnMatcher::new();
    let second = Confirm {
        return_key: Some(key(2)),
        verdict: Verdict::Acked,
        returned: Some(key(1)),
        waiter: 2,
    };
    let error = Error::new(ErrorKind::Disconnected, "lost");
    let third = Confirm {
        return_key: Some(key(3)),
        verdict: Verdict::Lost(error),
        returned: None,
        waiter: 3,
    };
    assert!(matcher.next(vec![second], 2).is_empty());
    let decided = matcher.next(vec![third], 1);
    assert!(matches!(decided[..], [(2, PublishOutcome::Unknown(_))]), "{decided:?}");
    let decided = matcher.next(Vec::new(), 1);
    assert!(matches!(decided[..], [(3, PublishOutcome::Unknown(_))]), "{decided:?}");
}

#[test]
fn requests_with_one_message_id_have_keys_of_their_own() {
    let key = |correlation: &str, reply_to: Option<&str>| {
        let properties = BasicProperties::default()
            .with_message_id("order-7".into())
            .with_correlation_id(correlation.into());
        let properties = match reply_to {
            Some(reply_to) => properties.with_reply_to(reply_to.into()),
            None => properties,
        };
        ReturnKey::new("queue".into(), &properties)
    };
    assert_ne!(key("7-1", Some("replies")), key("7-2", Some("replies")));
    assert_eq!(key("7-1", None), key("7-2", None), "a job is known by its message id");
}
