//! Deliveries are settled once, in the right order, and never beyond the window.

use std::time::Duration;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;

use super::*;
use crate::error::Fault;
use crate::message::DeadLetterReason;
use crate::transport::{DeadLetterInfo, RetryAfter};

fn holding(window: usize) -> HeldDeliveries<&'static str> {
    HeldDeliveries::new(Window::new(window), &DeliveryTags::new())
}

fn retry() -> Outcome {
    Outcome::Retry(Box::new(RetryAfter::new(Duration::from_secs(1), "busy")))
}

#[test]
fn credit_and_unsettled_deliveries_together_fill_the_window() {
    let mut held = holding(3);
    assert_eq!((held.take_credit(), held.take_credit()), (3, 0));
    let first = held.hold("a").unwrap();
    assert_eq!((held.take_credit(), held.len()), (0, 1));
    assert_eq!(held.settle(first, Outcome::Ack), SettleStep::Ack("a"));
    assert_eq!((held.take_credit(), held.take_credit()), (1, 0));
    let tags = ["b", "c", "d"].map(|source| held.hold(source).unwrap());
    assert_eq!((held.has_room(), held.hold("e")), (false, Err("e")));
    assert_eq!(held.settle(tags[1], Outcome::Requeue), SettleStep::Requeue("c"));
    assert_eq!((held.take_credit(), held.len()), (1, 2));
}

#[test]
fn each_delivery_is_settled_once() {
    let mut held = holding(9);
    for (outcome, step) in [
        (Outcome::Ack, SettleStep::Ack("a")),
        (Outcome::Discard, SettleStep::Discard("a")),
        (Outcome::Requeue, SettleStep::Requeue("a")),
    ] {
        let tag = held.hold("a").unwrap();
        assert_eq!(held.settle(tag, outcome.clone()), step);
        assert_eq!(held.settle(tag, outcome), SettleStep::Nothing);
        assert_eq!(held.settle(tag, retry()), SettleStep::Nothing);
        assert_eq!((held.release(tag), held.copied(tag, true)), (None, SettleStep::Nothing));
    }
    assert!(held.is_empty());
}

#[test]
fn original_waits_for_the_confirm_of_its_copy() {
    let declined = Outcome::Decline(Box::new(Fault::declined("no graphics card")));
    let reason = DeadLetterReason::Exhausted;
    let dead = Outcome::DeadLetter(Box::new(DeadLetterInfo::new(reason, "broken")));
    for outcome in [retry(), declined, dead] {
        let mut held = holding(1);
        let tag = held.hold("a").unwrap();
        assert_eq!(held.copied(tag, true), SettleStep::Nothing, "no copy was asked for");
        assert_eq!(held.settle(tag, outcome.clone()), SettleStep::Copy(outcome.clone()));
        // The source still counts the original, and nothing else settles it.
        assert_eq!((held.len(), held.take_credit(), held.get(tag)), (1, 0, Some(&"a")));
        assert_eq!(held.settle(tag, Outcome::Ack), SettleStep::Nothing);
        assert_eq!(held.settle(tag, outcome.clone()), SettleStep::Nothing);
        assert_eq!(held.release(tag), None);
        assert_eq!(held.copied(tag, true), SettleStep::Ack("a"));
        assert_eq!((held.copied(tag, true), held.take_credit()), (SettleStep::Nothing, 1));
        // A copy that was refused leaves the original in its queue.
        let tag = held.hold("b").unwrap();
        assert_eq!(held.settle(tag, outcome.clone()), SettleStep::Copy(outcome));
        assert_eq!(held.copied(tag, false), SettleStep::Requeue("b"));
        assert!(held.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_delivery_ends_once_in_any_order_of_events(
        window in 1_usize..5,
        actions in proptest::collection::vec((0_u8..8, any::<Index>()), 0..80),
    ) {
        let mut held = HeldDeliveries::new(Window::new(window), &DeliveryTags::new());
        let (mut tags, mut ended, mut arrived) = (Vec::new(), Vec::new(), 0_u32);
        for (action, index) in actions {
            let tag = if tags.is_empty() { 0 } else { *index.get(&tags) };
            let step = match action {
                0 => held.settle(tag, Outcome::Ack),
                1 => held.settle(tag, Outcome::Requeue),
                2 => held.settle(tag, retry()),
                3 => held.copied(tag, true),
                4 => held.copied(tag, false),
                _ => {
                    let has_room = held.has_room();
                    let hold = held.hold(arrived);
                    prop_assert_eq!(hold.is_ok(), has_room);
                    if let Ok(tag) = hold {
                        tags.push(tag);
                        arrived += 1;
                    }
                    continue;
                }
            };
            if let SettleStep::Ack(source) | SettleStep::Requeue(source) = step {
                ended.push(source);
            }
            prop_assert!(held.len() <= window && held.len() + ended.len() == arrived as usize);
        }
        ended.extend(held.take_all());
        ended.sort_unstable();
        prop_assert!(ended.into_iter().eq(0..arrived));
    }
}

#[test]
fn tags_of_a_lost_connection_settle_nothing() {
    let tags = DeliveryTags::new();
    let mut lost = HeldDeliveries::new(Window::new(9), &tags);
    let old = ["a", "b", "c"].map(|source| lost.hold(source).unwrap());
    assert_eq!(lost.settle(old[1], retry()), SettleStep::Copy(retry()));
    assert_eq!(lost.take_all(), ["a", "b", "c"]);
    assert_eq!((lost.copied(old[1], true), lost.take_credit()), (SettleStep::Nothing, 9));
    let mut next = HeldDeliveries::new(Window::new(9), &tags);
    let new = ["d", "e", "f"].map(|source| next.hold(source).unwrap());
    for tag in old {
        assert!(!new.contains(&tag));
        assert_eq!(next.settle(tag, Outcome::Ack), SettleStep::Nothing);
        assert_eq!(lost.settle(tag, Outcome::Ack), SettleStep::Nothing);
    }
    assert_eq!(next.len(), 3);
}

#[test]
fn source_that_carries_out_each_outcome_gets_the_delivery() {
    let mut held = holding(1);
    let tag = held.hold("a").unwrap();
    assert_eq!((held.release(tag), held.release(tag)), (Some("a"), None));
    assert!(held.has_room());
}
