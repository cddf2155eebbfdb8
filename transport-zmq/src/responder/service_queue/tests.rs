//! Tests of the queue as data, without tasks.

use std::task::{Wake, Waker};

use futures_util::FutureExt;
use futures_util::task::noop_waker;
use polywire_core::Message;
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::Delivery;

use super::*;
use crate::responder::abandoned_calls::AbandonedCalls;

fn empty_request() -> Result<Delivery> {
    Ok(Delivery::settled(Message::default()))
}

fn take(queue: &ServiceQueue, consumer: u64) -> Poll<Option<Result<Delivery>>> {
    let taken = queue.poll_take(consumer, &Context::from_waker(&noop_waker()));
    taken.map(|taken| taken.map(|taken| taken.request))
}

#[test]
fn a_push_waits_for_room() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 1);
    for _ in 0..=READ_AHEAD_MAX {
        assert!(queue.push(empty_request()).now_or_never().unwrap().is_ok());
    }
    let mut waiting = Box::pin(queue.push(empty_request()));
    assert!((&mut waiting).now_or_never().is_none());
    assert!(take(&queue, 1).is_ready());
    assert!(waiting.now_or_never().unwrap().is_ok());
}

fn request(peer: &'static str, call: u64, size: usize) -> Result<Delivery> {
    let mut message = Message::new(vec![0; size]);
    (message.reply_to, message.id) = (Some(ReplyTo::new(peer)), Some(CallId(call)));
    Ok(Delivery::settled(message))
}

fn abandoned(peer: &'static str, call: u64) -> Abandoned {
    Abandoned::new(ReplyTo::new(peer), CallId(call))
}

fn take_abandoned(queue: &ServiceQueue, consumer: u64) -> Option<Abandoned> {
    queue.take_abandoned(consumer, &Context::from_waker(&noop_waker()))
}

#[test]
fn large_requests_are_not_read_ahead_beyond_the_windows() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 2);
    for call in 0..2 {
        assert!(
            queue.push(request("a", call, READ_AHEAD_BYTES_MAX)).now_or_never().unwrap().is_ok()
        );
    }
    assert!(!queue.has_room());
    assert!(take(&queue, 1).is_ready());
    assert!(queue.has_room());
    queue.abandon(&abandoned("a", 1));
    for call in 0..READ_AHEAD_MAX as u64 {
        assert!(queue.has_room());
        assert!(queue.push(request("a", call, 0)).now_or_never().unwrap().is_ok());
    }
}

#[test]
fn an_abandoned_queued_request_is_removed_and_no_other() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 4);
    for (peer, call) in [("a", 1), ("b", 1), ("a", 2)] {
        assert!(queue.push(request(peer, call, 0)).now_or_never().unwrap().is_ok());
    }
    queue.abandon(&abandoned("a", 1));
    assert_eq!(take_abandoned(&queue, 1), None);
    for expected in [("b", 1), ("a", 2)] {
        let Poll::Ready(Some(Ok(taken))) = take(&queue, 1) else { panic!("the request is queued") };
        let call = abandoned(expected.0, expected.1);
        assert!(is_of(&Ok(taken), &call));
    }
    assert!(take(&queue, 1).is_pending());
}

#[test]
fn an_abandoned_call_that_was_taken_is_reported_to_all_consumers_within_a_bound() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 4);
    queue.add_consumer(2, 4);
    queue.abandon(&abandoned("a", 1));
    assert_eq!(
        [take_abandoned(&queue, 1), take_abandoned(&queue, 2)],
        [Some(abandoned("a", 1)), Some(abandoned("a", 1))]
    );
    assert_eq!(take_abandoned(&queue, 1), None);
    (0..3 * AbandonedCalls::MAX as u64).for_each(|call| queue.abandon(&abandoned("a", call)));
    assert_eq!(std::iter::from_fn(|| take_abandoned(&queue, 1)).count(), AbandonedCalls::MAX);
}

#[test]
fn removing_the_last_consumer_returns_the_queued_requests() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 4);
    queue.add_consumer(2, 4);
    assert!(queue.push(empty_request()).now_or_never().unwrap().is_ok());
    assert!(queue.remove_consumer(1).is_none());
    assert_eq!(queue.remove_consumer(2).unwrap().len(), 1);
    assert!(queue.push(empty_request()).now_or_never().unwrap().is_err());
}

#[test]
fn a_stopped_consumer_takes_only_requests_that_no_other_would() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 4);
    queue.add_consumer(2, 4);
    queue.stop(1);
    assert!(queue.push(empty_request()).now_or_never().unwrap().is_ok());
    assert!(take(&queue, 1).is_pending());
    assert!(take(&queue, 2).is_ready());
    assert!(queue.push(empty_request()).now_or_never().unwrap().is_ok());
    queue.remove_consumer(2);
    assert!(take(&queue, 1).is_ready());
}

#[test]
fn a_declined_request_goes_to_each_other_consumer_once_and_then_back() {
    let queue = ServiceQueue::default();
    (1..=3).for_each(|consumer| drop(queue.add_consumer(consumer, 4)));
    queue.stop(3);
    assert!(queue.push(request("a", 1, 10)).now_or_never().unwrap().is_ok());
    let take = |consumer| queue.poll_take(consumer, &Context::from_waker(&noop_waker()));
    let Poll::Ready(Some(TakenRequest { request: Ok(first), tried: Some(tried) })) = take(1) else {
        panic!("the request is queued")
    };
    assert_eq!(tried, [1]);
    assert!(queue.push_declined(first.message, &tried).is_ok());
    assert!(take(1).is_pending());
    let Poll::Ready(Some(TakenRequest { request: Ok(second), tried: Some(tried) })) = take(2)
    else {
        panic!("the request is for the other consumer")
    };
    assert_eq!(tried, [1, 2]);
    // The third consumer is stopped.
    assert!(queue.push_declined(second.message.clone(), &tried).is_err());
    // A removed consumer takes nothing either. Only the first one remains, and declines again.
    assert!(queue.push_declined(second.message, &[1]).is_ok());
    queue.remove_consumer(3);
    queue.remove_consumer(2);
    assert!(matches!(take(1), Poll::Ready(Some(TakenRequest { tried: None, .. }))));
}

#[test]
fn a_request_for_a_stopped_consumer_goes_back_to_one_that_declined_it() {
    let queue = ServiceQueue::default();
    (1..=2).for_each(|consumer| drop(queue.add_consumer(consumer, 4)));
    assert!(queue.push(empty_request()).now_or_never().unwrap().is_ok());
    let Poll::Ready(Some(Ok(Delivery { message, .. }))) = take(&queue, 1) else {
        panic!("the request is queued")
    };
    assert!(queue.push_declined(message.clone(), &[1]).is_ok());
    assert!(take(&queue, 1).is_pending());
    queue.stop(2);
    assert!(take(&queue, 2).is_pending());
    assert!(take(&queue, 1).is_ready());
    assert!(queue.push_declined(message, &[1]).is_err());
}

#[test]
fn a_closed_queue_ends_its_consumers() {
    let queue = ServiceQueue::default();
    queue.add_consumer(1, 4);
    assert!(queue.push(empty_request()).now_or_never().unwrap().is_ok());
    assert_eq!(queue.close().len(), 1);
    assert!(matches!(take(&queue, 1), Poll::Ready(None)));
}

#[test]
fn a_queue_is_idle_for_a_consumer_until_its_next_change() {
    let queue = ServiceQueue::default();
    let is_idle = queue.add_consumer(1, 4);
    assert!(!is_idle.is_set(), "the waker is not registered yet");
    let changes: [fn(&ServiceQueue); 4] = [
        |queue| assert!(queue.push_beyond(empty_request()).is_ok()),
        |queue| queue.abandon(&abandoned("a", 1)),
        |queue| queue.stop(1),
        |queue| drop(queue.close()),
    ];
    for change in changes {
        while take_abandoned(&queue, 1).is_some() || take(&queue, 1).is_ready() {}
        assert!(is_idle.is_set());
        change(&queue);
        assert!(!is_idle.is_set());
    }
}

#[test]
fn a_queue_is_not_idle_for_a_task_that_it_does_not_wake_any_more() {
    let queue = ServiceQueue::default();
    let is_idle = queue.add_consumer(1, 4);
    assert!(take(&queue, 1).is_pending());
    let other = Waker::from(Arc::new(OtherTask));
    assert_eq!(queue.take_abandoned(1, &Context::from_waker(&other)), None);
    assert!(!is_idle.is_set());
}

struct OtherTask;

impl Wake for OtherTask {
    fn wake(self: Arc<Self>) {}
}
