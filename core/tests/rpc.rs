//! The pattern over scripted ends: what a backend may do that memory never does.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod scripted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::rpc::{Deduplication, Requester, ServerBind, ServerStats};
use polywire_core::transport::{Delivery, Outcome, Receipt, Sending, Settle};
use polywire_core::{
    Address, CallError, Client, Code, Deadline, Error, ErrorKind, Fault, Memory, Message, Router,
    Server, Window,
};
use tokio::time::Instant;

use self::scripted::{Script, Scripted, caller_gone, link_lost, never_confirmed, sent};

async fn client(send: fn() -> Sending<'static>) -> (Client<MessagePack>, Script) {
    let (transport, script) = Scripted::new(send);
    (Client::connect(&transport, "service", MessagePack).await.unwrap(), script)
}

#[tokio::test]
async fn reply_that_overtakes_its_confirm_is_taken() {
    let (client, mut script) = client(never_confirmed).await;
    let call = client.request("double").start::<i64>(&1).unwrap();
    let id = script.request().await.id;
    script.reply(id, b"\x02");
    assert_eq!(call.await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn unanswered_call_ends_at_its_deadline() {
    let (client, mut script) = client(sent).await;
    for timeout in [Duration::from_secs(30), Duration::from_millis(7)] {
        let start = Instant::now();
        let outcome = client.with_timeout(timeout).call::<i64>("double", &1).await;
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
        assert_eq!(start.elapsed().as_millis(), timeout.as_millis());
        assert!(script.request().await.deadline.is_some());
    }
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test]
async fn expired_call_is_not_sent() {
    let (client, mut script) = client(sent).await;
    let outcome = client.request("double").deadline(Deadline::after_ms(0)).call::<i64>(&1).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
    assert!(script.sent.try_recv().is_err());
}

#[tokio::test]
async fn error_that_names_a_call_fails_that_call_alone() {
    let (client, mut script) = client(sent).await;
    let first = client.request("double").start::<i64>(&1).unwrap();
    let unlucky = script.request().await.id.unwrap();
    let second = client.request("double").start::<i64>(&1).unwrap();
    let lucky = script.request().await.id;
    script.fail(Error::new(ErrorKind::Unroutable, "returned").with_call(unlucky));
    script.reply(lucky, b"\x02");
    assert_eq!(first.await.unwrap_err().kind(), Some(ErrorKind::Unroutable));
    assert_eq!(second.await.unwrap(), 2);
}

#[tokio::test]
async fn lost_link_fails_what_is_in_flight_and_the_next_call_works() {
    let (client, mut script) = client(sent).await;
    let lost = client.request("double").start::<i64>(&1).unwrap();
    script.request().await;
    script.fail(Error::new(ErrorKind::Disconnected, "the reply queue is gone"));
    assert_eq!(lost.await.unwrap_err().kind(), Some(ErrorKind::Disconnected));
    let next = client.request("double").start::<i64>(&1).unwrap();
    let id = script.request().await.id;
    script.reply(id, b"\x02");
    assert_eq!(next.await.unwrap(), 2);
}

#[tokio::test]
async fn replies_to_nobody_are_counted_and_harm_nobody() {
    let (client, mut script) = client(sent).await;
    script.reply(Some(CallId(77)), b"\x02");
    script.reply(None, b"\x02");
    script.fail(Error::new(ErrorKind::Codec, "garbage"));
    let call = client.request("double").start::<i64>(&1).unwrap();
    let id = script.request().await.id;
    script.reply(id, b"\x02");
    assert_eq!(call.await.unwrap(), 2);
    let stats = client.stats();
    assert_eq!((stats.late_replies, stats.bad_replies, stats.in_flight), (2, 1, 0));
}

#[tokio::test]
async fn calls_past_the_bound_are_overloaded() {
    let (transport, mut script) = Scripted::new(sent);
    let client = Client::connect(&transport, "service", MessagePack).pending_max(1).await.unwrap();
    let first = client.request("double").start::<i64>(&1).unwrap();
    script.request().await;
    let error = client.call::<i64>("double", &1).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Overloaded));
    drop(first);
}

#[tokio::test]
async fn failed_send_is_the_calls_error() {
    let (client, _script) = client(link_lost).await;
    let error = client.call::<i64>("double", &1).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Disconnected));
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test]
async fn last_clone_takes_the_end_with_it() {
    let (client, script) = client(sent).await;
    let clone = client.clone();
    drop(client);
    assert!(!script.incoming.is_closed());
    drop(clone);
    script.incoming.closed().await;
}

#[derive(Default)]
struct Ledger(Mutex<Vec<Outcome>>);

impl Settle for Ledger {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

/// Serves one request over a scripted end; what was replied, and what the request's receipt came
/// to.
async fn serve_one(
    request: Message,
    send: fn() -> Sending<'static>,
) -> (Vec<Message>, Vec<Outcome>) {
    let (transport, mut script) = Scripted::new(send);
    let server = Server::bind(&transport, "service").await.unwrap();
    let ledger = Arc::new(Ledger::default());
    script.incoming.send(Ok(Delivery::new(request, Receipt::new(ledger.clone(), 1)))).unwrap();
    drop(script.incoming);
    server
        .serve(Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) }))
        .await;
    let mut replies = Vec::new();
    while let Ok(reply) = script.sent.try_recv() {
        replies.push(reply);
    }
    let outcomes = ledger.0.lock().unwrap().clone();
    (replies, outcomes)
}

fn request() -> Message {
    let mut request = Message::request(Address::new("double").unwrap(), Deadline::after_ms(10_000));
    request.body = (&b"\x01"[..]).into();
    request.id = Some(CallId(5));
    request.reply_to = Some(ReplyTo::new("caller"));
    request
}

#[tokio::test]
async fn request_is_acknowledged_after_its_reply() {
    let (replies, outcomes) = serve_one(request(), sent).await;
    assert_eq!(replies[0].id, Some(CallId(5)));
    assert_eq!(replies[0].reply_to, Some(ReplyTo::new("caller")));
    assert_eq!(replies[0].body.as_slice(), Some(&b"\x02"[..]));
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test]
async fn request_whose_reply_cannot_leave_is_requeued() {
    let (_, outcomes) = serve_one(request(), link_lost).await;
    assert_eq!(outcomes, [Outcome::Requeue]);
}

#[tokio::test]
async fn request_whose_reply_can_never_leave_is_answered_with_a_fault() {
    let refused =
        || Sending::ready(Err(Error::new(ErrorKind::Config, "such a header cannot be sent")));
    let (replies, outcomes) = serve_one(request(), refused).await;
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[1].fault.as_ref().unwrap().code, Code::Internal);
    // Even if the fault cannot leave: the next attempt would end like this one.
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test]
async fn request_of_a_caller_that_is_gone_is_done() {
    let (_, outcomes) = serve_one(request(), caller_gone).await;
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test]
async fn unreadable_request_is_answered_with_its_fault() {
    let mut unreadable = request();
    unreadable.fault = Some(Box::new(Fault::new(Code::InvalidArguments, "no method")));
    let (replies, outcomes) = serve_one(unreadable, sent).await;
    assert_eq!(replies[0].fault.as_ref().unwrap().message, "no method");
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test]
async fn one_way_request_is_carried_out_and_not_answered() {
    let mut one_way = request();
    one_way.reply_to = None;
    let (replies, outcomes) = serve_one(one_way, sent).await;
    assert!(replies.is_empty());
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test]
async fn expired_request_is_settled_and_not_answered() {
    let mut late = request();
    late.deadline = Some(Deadline::after_ms(0));
    let (replies, outcomes) = serve_one(late, sent).await;
    assert!(replies.is_empty());
    assert_eq!(outcomes, [Outcome::Ack]);
}

/// Serves deliveries of requests, each with its attempt, by a handler that counts; what was
/// replied, how often the handler ran, and in which order requests were settled and run.
async fn serve_counted(
    requests: &[(Message, u32)],
    server: impl for<'t> FnOnce(ServerBind<'t, Scripted>) -> ServerBind<'t, Scripted>,
) -> (Vec<Message>, Vec<&'static str>, ServerStats) {
    let (transport, mut script) = Scripted::new(sent);
    let server = server(Server::bind(&transport, "service")).await.unwrap();
    let story = Arc::new(Story::default());
    for (request, attempt) in requests {
        let delivery =
            Delivery::new(request.clone(), Receipt::new(story.clone(), 1)).attempt(*attempt);
        script.incoming.send(Ok(delivery)).unwrap();
    }
    drop(script.incoming);
    let (handle, told) = (server.handle(), story.clone());
    let router = Router::new(MessagePack).method("double", move |n: i64| {
        told.0.lock().unwrap().push("run");
        async move { Ok(n * 2) }
    });
    server.serve(router).await;
    let replies = std::iter::from_fn(|| script.sent.try_recv().ok()).collect();
    let story = story.0.lock().unwrap().clone();
    (replies, story, handle.stats())
}

/// A function, since a method has one lifetime and not any.
fn at_most_once(server: ServerBind<'_, Scripted>) -> ServerBind<'_, Scripted> {
    server.at_most_once()
}

#[derive(Default)]
struct Story(Mutex<Vec<&'static str>>);

impl Settle for Story {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().push(if outcome == Outcome::Ack {
            "acknowledged"
        } else {
            "not acknowledged"
        });
    }
}

#[tokio::test]
async fn duplicate_is_answered_from_memory_where_it_is_suppressed() {
    let twice = [(request(), 1), (request(), 2)];
    let (_, story, _) = serve_counted(&twice, |server| server).await;
    assert_eq!(story, ["run", "acknowledged", "run", "acknowledged"]);
    let (replies, story, stats) =
        serve_counted(&twice, |server| server.deduplicate(Deduplication::default())).await;
    assert_eq!(story, ["run", "acknowledged", "acknowledged"]);
    assert_eq!((replies.len(), stats.answered, stats.duplicates), (2, 2, 1));
    assert_eq!(replies[0].body.as_slice(), replies[1].body.as_slice());
}

#[tokio::test]
async fn request_is_settled_before_it_is_run_where_it_is_run_at_most_once() {
    let (replies, story, stats) = serve_counted(&[(request(), 1)], at_most_once).await;
    assert_eq!(story, ["acknowledged", "run"]);
    assert_eq!((replies.len(), stats.refused), (1, 0));
}

#[tokio::test]
async fn request_that_was_delivered_before_is_refused_where_it_is_run_at_most_once() {
    let (replies, story, stats) = serve_counted(&[(request(), 2)], at_most_once).await;
    assert_eq!(story, ["acknowledged"]);
    assert_eq!(replies[0].fault.as_ref().unwrap().code, Code::Unavailable);
    assert_eq!((replies[0].id, stats.refused), (Some(CallId(5)), 1));
}

#[tokio::test]
async fn window_bounds_the_work_even_if_the_backend_does_not() {
    let (transport, script) = Scripted::new(sent);
    let server = Server::bind(&transport, "service").window(Window::new(2)).await.unwrap();
    let handle = server.handle();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let handler_gate = gate.clone();
    let router = Router::new(MessagePack).method("double", move |n: i64| {
        let gate = handler_gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(n * 2)
        }
    });
    let serving = tokio::spawn(server.serve(router));
    for _ in 0..5 {
        script.incoming.send(Ok(Delivery::settled(request()))).unwrap();
    }
    drop(script.incoming);
    for done in 0..=3 {
        while handle.stats().answered < done || handle.stats().running < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(handle.stats().running, 2);
        gate.add_permits(1);
    }
    gate.add_permits(1);
    serving.await.unwrap();
    assert_eq!(handle.stats().answered, 5);
}

#[tokio::test]
async fn router_is_a_service_without_any_transport() {
    let router = Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) });
    let client = Client::new(router, MessagePack);
    assert_eq!(client.call::<i64>("double", &4).await.unwrap(), 8);
}

#[tokio::test(start_paused = true)]
async fn client_of_a_service_without_a_clock_keeps_its_deadline() {
    let router = Router::new(MessagePack)
        .method("wait", |(): ()| async { Ok(std::future::pending::<u8>().await) });
    let client = Client::new(router, MessagePack);
    let began = Instant::now();
    let outcome = client.request("wait").timeout(Duration::from_secs(1)).call::<u8>(&()).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "two methods are named add")]
fn methods_of_one_name_are_refused() {
    let add = |n: i64| async move { Ok(n) };
    let _ = Router::new(MessagePack).method("add", add).method("add", add);
}

#[tokio::test]
async fn dropped_server_hands_its_requests_on() {
    let memory = Memory::new();
    let server = Server::bind(&memory, "service").await.unwrap();
    let handle = server.handle();
    let stuck = tokio::spawn(
        server.serve(
            Router::new(MessagePack)
                .method("double", |_: i64| async { Ok(std::future::pending::<i64>().await) }),
        ),
    );
    let client = Client::connect(&memory, "service", MessagePack).await.unwrap();
    let call = client.request("double").start::<i64>(&4).unwrap();
    while handle.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let heir = Server::bind(&memory, "service").await.unwrap();
    tokio::spawn(
        heir.serve(Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) })),
    );
    stuck.abort();
    assert_eq!(call.await.unwrap(), 8);
    // A handle of a server that is gone does not wait for it.
    handle.drain().await;
}

#[tokio::test]
async fn names_that_are_no_addresses_are_refused() {
    let memory = Memory::new();
    let error = Client::connect(&memory, "no spaces, please", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = Server::bind(&memory, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let client = Client::new(
        Requester::open(&memory, Address::new("a").unwrap(), 1).await.unwrap(),
        MessagePack,
    );
    let error = client.call::<()>("two..dots", &()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Config));
}
