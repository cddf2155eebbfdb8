//! Tests against a model of the broker, which returns a message before it confirms it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use fastrand::Rng;
use lapin::BasicProperties;
use polywire_core::{ErrorKind, Result};
use tokio::time::advance;

use super::super::outcome_slot::{OutcomeReceiver, outcome_slot};
use super::super::publish_request::PublishRequest;
use super::*;
use crate::buffer_bounds::BufferBounds;
use crate::wire::OutgoingMessage;

const TIMEOUT: Duration = Duration::from_secs(30);

fn table() -> UnconfirmedTable {
    let limit = UnconfirmedLimit::new(BufferBounds { messages: 1_000, bytes: 1 << 20 });
    let (room, sizes) = (Arc::default(), Arc::new(SizeLimits::new()));
    let lost = watch::Sender::new(false);
    UnconfirmedTable::new("".into(), Arc::new(limit), TIMEOUT, room, sizes, lost)
}

/// Adds a mandatory message with this id to the queue `q`.
fn push(table: &UnconfirmedTable, id: u64) -> OutcomeReceiver {
    let (sender, outcome) = outcome_slot(false);
    let message =
        OutgoingMessage::to_queue("q".into(), BasicProperties::default(), Bytes::from_static(b"m"));
    let request = PublishRequest::new(message, 1, sender);
    table.limit.enter(1);
    table.push(Some(id.to_string().into()), 1, request.waiter);
    outcome
}

fn poll(outcome: &mut OutcomeReceiver) -> Poll<Result<()>> {
    Pin::new(outcome).poll(&mut Context::from_waker(Waker::noop()))
}

fn kind(outcome: &mut OutcomeReceiver) -> Option<ErrorKind> {
    let Poll::Ready(outcome) = poll(outcome) else { panic!("there is no outcome") };
    outcome.err().map(|error| error.kind())
}

fn confirm(tag: u64, multiple: bool, is_ack: bool) -> ConfirmFrame {
    ConfirmFrame { tag, multiple, is_ack }
}

#[tokio::test]
async fn each_message_gets_its_own_outcome() {
    for seed in 0..200 {
        let random = &mut Rng::with_seed(seed);
        let table = table();
        let (mut last, mut open) = (0, Vec::new());
        for _ in 0..300 {
            if random.bool() {
                last += 1;
                let is_returned = random.u8(..4) == 0;
                let outcome = push(&table, last);
                if is_returned {
                    table.returned("q", &last.to_string());
                }
                open.push((last, is_returned, outcome));
            } else if !open.is_empty() {
                let (multiple, is_ack) = (random.bool(), random.u8(..8) > 0);
                let at = random.usize(..open.len());
                let tag = open[at].0;
                table.confirmed(confirm(tag, multiple, is_ack));
                let confirmed: Vec<_> =
                    if multiple { open.drain(..=at).collect() } else { vec![open.remove(at)] };
                for (_, is_returned, mut outcome) in confirmed {
                    let expected = match (is_ack, is_returned) {
                        (false, _) => Some(ErrorKind::Rejected),
                        (true, true) => Some(ErrorKind::Unroutable),
                        (true, false) => None,
                    };
                    assert_eq!(kind(&mut outcome), expected);
                }
            }
            assert!(open.iter_mut().all(|(_, _, outcome)| poll(outcome).is_pending()));
        }
        table.confirmed(confirm(0, true, true));
        assert!(open.iter_mut().all(|(_, _, outcome)| poll(outcome).is_ready()));
        let state = lock(&table.state);
        assert!(state.count == 0 && state.messages.is_empty() && state.returned.is_empty());
    }
}

#[tokio::test]
async fn confirms_and_returns_of_unknown_messages_have_no_effect() {
    let table = table();
    table.returned("q", "1");
    for frame in [confirm(0, false, true), confirm(9, false, true), confirm(0, true, true)] {
        table.confirmed(frame);
    }
    let mut outcome = push(&table, 1);
    table.returned("other", "1");
    table.confirmed(confirm(2, false, true));
    assert!(poll(&mut outcome).is_pending());
    table.confirmed(confirm(u64::MAX, true, true));
    assert_eq!(kind(&mut outcome), None);
    table.confirmed(confirm(1, false, true));
}

#[tokio::test(start_paused = true)]
async fn sender_waits_no_longer_than_the_timeout_and_its_message_still_counts() {
    let table = table();
    let mut early = push(&table, 1);
    advance(TIMEOUT / 2).await;
    let mut late = push(&table, 2);
    assert_eq!(table.give_up_waiting(), CHECK_INTERVAL);
    advance(TIMEOUT / 2 - Duration::from_millis(300)).await;
    assert_eq!(table.give_up_waiting(), Duration::from_millis(300));
    assert!(poll(&mut early).is_pending());
    advance(Duration::from_millis(300)).await;
    table.give_up_waiting();
    assert_eq!(kind(&mut early), Some(ErrorKind::DeadlineExceeded));
    assert!(poll(&mut late).is_pending());
    assert_eq!(lock(&table.state).count, 2);
    table.confirmed(confirm(2, true, true));
    assert_eq!(kind(&mut late), None);
    assert_eq!(lock(&table.state).count, 0);
}

#[tokio::test]
async fn message_on_a_lost_channel_fails() {
    let table = table();
    lock(&table.state).loss = Some(unknown_loss());
    let mut outcome = push(&table, 1);
    assert_eq!(kind(&mut outcome), Some(ErrorKind::Disconnected));
}
