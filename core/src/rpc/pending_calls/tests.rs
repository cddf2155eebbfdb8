//! Tests of the table of in-flight calls.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::*;

fn table(max: usize) -> PendingCalls {
    PendingCalls::new(max)
}

fn open(table: &PendingCalls) -> Result<PendingCall<'_>> {
    table.open(None, Deadline::after_ms(30_000), Waker::noop())
}

async fn end(mut call: PendingCall<'_>) -> CallEnd {
    poll_fn(|cx| call.poll_end(cx)).await
}

async fn outcome(call: PendingCall<'_>) -> Result<Box<Message>> {
    end(call).await.expect("the call has expired")
}

/// Each in-flight call has an entry beside its future. A larger one needs a reason.
#[test]
fn entries_are_small() {
    assert!(size_of::<(CallId, Entry)>() <= 80, "{}", size_of::<(CallId, Entry)>());
    assert!(size_of::<PendingCall<'_>>() <= 24);
}

#[tokio::test]
async fn each_reply_reaches_its_own_call() {
    let pending = table(10);
    let (first, second) = (open(&pending).unwrap(), open(&pending).unwrap());
    assert!(pending.complete(second.id(), Ok(Box::new(Message::new("second")))));
    assert!(pending.complete(first.id(), Ok(Box::new(Message::new("first")))));
    assert_eq!(outcome(first).await.unwrap().body.into_bytes(), "first");
    assert_eq!(outcome(second).await.unwrap().body.into_bytes(), "second");
    assert_eq!(pending.len(), 0);
}

#[test]
fn dropped_call_leaves_no_entry_and_its_reply_is_late() {
    let pending = table(10);
    let call = open(&pending).unwrap();
    let id = call.id();
    drop(call);
    assert_eq!(pending.len(), 0);
    assert!(!pending.complete(id, Ok(Box::new(Message::default()))));
}

#[test]
fn call_ids_are_never_reused() {
    let pending = table(10);
    let first = open(&pending).unwrap().id();
    let second = open(&pending).unwrap().id();
    assert_ne!(first, second);
}

#[test]
fn full_table_refuses_and_names_its_bound() {
    let pending = table(1);
    let held = open(&pending).unwrap();
    let error = open(&pending).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.is_unsent());
    assert_eq!(error.detail("limit"), Some("1"));
    drop(held);
    assert!(open(&pending).is_ok());
}

#[tokio::test(start_paused = true)]
async fn call_that_has_ended_is_denied_and_a_lost_server_ends_its_calls() {
    let pending = table(10);
    let (ended, waiting) = (open(&pending).unwrap(), open(&pending).unwrap());
    let ann = ServerAddress::new("ann");
    let asked = |id| Asked::new(id, ann.clone(), id.0);
    assert_eq!(pending.decide(&asked(ended.id())), Decision::Permit);
    let id = ended.id();
    drop(ended);
    assert_eq!(pending.decide(&asked(id)), Decision::Deny);
    assert!(pending.servers().is_empty());
    assert_eq!(pending.decide(&asked(waiting.id())), Decision::Permit);
    pending.server_is_gone(&ann);
    tokio::time::advance(std::time::Duration::from_millis(600)).await;
    assert!(pending.is_permitted(waiting.id()));
    pending.server_is_gone(&ann);
    assert_eq!(outcome(waiting).await.unwrap().fault.unwrap().code, Code::Interrupted);
    assert!(pending.servers().is_empty());
}

#[tokio::test]
async fn closing_fails_in_flight_and_later_calls() {
    let pending = table(10);
    let waiting = open(&pending).unwrap();
    pending.close(&Error::new(ErrorKind::Closed, "closed"));
    let error = outcome(waiting).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!error.is_unsent(), "the call was in flight, so its outcome is unknown");
    let later = open(&pending).map(drop).unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Closed);
    assert!(later.is_unsent());
}

#[tokio::test(start_paused = true)]
async fn calls_end_at_their_deadlines_and_no_other_calls() {
    let pending = table(10);
    let open = |ms| pending.open(None, Deadline::after_ms(ms), Waker::noop()).unwrap();
    let (late, early, answered) = (open(30), open(10), open(10));
    assert!(pending.complete(answered.id(), Ok(Box::default())));
    let next = || poll_fn(|cx| Poll::Ready(pending.next_expiry(cx)));
    let start = Instant::now();
    let after = |ms| start + std::time::Duration::from_millis(ms);
    assert_eq!(next().await, Some(after(10)));
    pending.expire(after(9));
    assert_eq!(pending.len(), 2);
    pending.expire(after(10));
    assert_eq!((pending.len(), next().await), (1, Some(after(30))));
    assert!(end(early).await.is_none());
    assert!(outcome(answered).await.is_ok());
    assert!(!pending.complete(CallId(2), Ok(Box::default())), "its reply is late");
    drop(late);
    pending.expire(after(30));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn earlier_deadline_wakes_the_task() {
    let (pending, woken) = (table(10), Arc::new(Flag::default()));
    let waker = Waker::from(woken.clone());
    let open = |ms| pending.open(None, Deadline::after_ms(ms), Waker::noop()).unwrap();
    let is_woken = || woken.0.swap(false, Ordering::Relaxed);
    pending.next_expiry(&Context::from_waker(&waker));
    let _calls = (open(20_000), open(30_000));
    assert!(is_woken());
    pending.next_expiry(&Context::from_waker(&waker));
    let _later = open(25_000);
    assert!(!is_woken());
    let _earlier = open(5_000);
    assert!(is_woken());
}

/// A flag that a waker sets.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
