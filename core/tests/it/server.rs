//! Servers over a scripted transport, which does what the memory transport never does.

use std::sync::{Arc, Mutex};

use polywire_codec::MessagePack;
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::rpc::{Deduplication, ServerBind, ServerStats};
use polywire_core::transport::{Delivery, Outcome, Receipt, Sending, Settle};
use polywire_core::{
    Address, Client, Code, Deadline, Error, ErrorKind, Fault, Memory, Message, Router, Server,
    Window,
};

use crate::scripted::{Scripted, caller_gone, connection_lost, sent};

/// The outcomes that the server settled with.
#[derive(Default)]
struct Outcomes(Mutex<Vec<Outcome>>);

impl Settle for Outcomes {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

/// Serves one request. Returns the replies, and the outcomes that the request was settled with.
async fn serve_one(
    request: Message,
    send: fn() -> Sending<'static>,
) -> (Vec<Message>, Vec<Outcome>) {
    let (transport, mut script) = Scripted::new(send);
    let server = Server::bind(&transport, "service").await.unwrap();
    let recorder = Arc::new(Outcomes::default());
    script.incoming.send(Ok(Delivery::new(request, Receipt::new(recorder.clone(), 1)))).unwrap();
    drop(script.incoming);
    server
        .serve(Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) }))
        .await
        .unwrap();
    let mut replies = Vec::new();
    while let Ok(reply) = script.sent.try_recv() {
        replies.push(reply);
    }
    let outcomes = recorder.0.lock().unwrap().clone();
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
async fn request_whose_reply_cannot_be_sent_is_requeued() {
    let (_, outcomes) = serve_one(request(), connection_lost).await;
    assert_eq!(outcomes, [Outcome::Requeue]);
}

#[tokio::test]
async fn request_whose_reply_meets_a_closed_handle_is_requeued() {
    let closed = || Sending::ready(Err(Error::new(ErrorKind::Closed, "the handle is closed")));
    let (replies, outcomes) = serve_one(request(), closed).await;
    assert_eq!((replies.len(), outcomes), (1, vec![Outcome::Requeue]));
}

#[tokio::test]
async fn request_whose_reply_can_never_be_sent_is_answered_with_a_fault() {
    let refused =
        || Sending::ready(Err(Error::new(ErrorKind::Config, "such a header cannot be sent")));
    let (replies, outcomes) = serve_one(request(), refused).await;
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[1].fault.as_ref().unwrap().code, Code::Internal);
    // Acknowledged although the fault cannot be sent: the next attempt would end in the same way.
    assert_eq!(outcomes, [Outcome::Ack]);
}

#[tokio::test]
async fn request_whose_reply_was_refused_for_a_passing_reason_is_interrupted() {
    fn refused<const KIND: u8>() -> Sending<'static> {
        let kind = match KIND {
            0 => ErrorKind::Rejected,
            1 => ErrorKind::DeadlineExceeded,
            _ => ErrorKind::Overloaded,
        };
        Sending::ready(Err(Error::new(kind, "the reply may have been sent")))
    }
    for refused in [refused::<0>, refused::<1>, refused::<2>] {
        let (replies, outcomes) = serve_one(request(), refused).await;
        assert_eq!(replies[1].fault.as_ref().unwrap().code, Code::Interrupted);
        assert_eq!(outcomes, [Outcome::Ack]);
    }
}

#[tokio::test]
async fn request_of_a_disconnected_caller_is_acknowledged() {
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
async fn one_way_request_is_run_and_not_answered() {
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

/// Serves requests, each with its attempt. Returns the replies, the log of runs and settlements in
/// order, and the counters of the server.
async fn serve_logged(
    requests: &[(Message, u32)],
    server: impl for<'t> FnOnce(ServerBind<'t, Scripted>) -> ServerBind<'t, Scripted>,
) -> (Vec<Message>, Vec<&'static str>, ServerStats) {
    let (transport, mut script) = Scripted::new(sent);
    let server = server(Server::bind(&transport, "service")).await.unwrap();
    let log = Arc::new(Log::default());
    for (request, attempt) in requests {
        let delivery =
            Delivery::new(request.clone(), Receipt::new(log.clone(), 1)).attempt(*attempt);
        script.incoming.send(Ok(delivery)).unwrap();
    }
    drop(script.incoming);
    let (handle, handler_log) = (server.handle(), log.clone());
    let router = Router::new(MessagePack).method("double", move |n: i64| {
        handler_log.0.lock().unwrap().push("run");
        async move { Ok(n * 2) }
    });
    server.serve(router).await.unwrap();
    let replies = std::iter::from_fn(|| script.sent.try_recv().ok()).collect();
    let log = log.0.lock().unwrap().clone();
    (replies, log, handle.stats())
}

/// Sets the option. A function, since the path of the method has a fixed lifetime.
fn at_most_once(server: ServerBind<'_, Scripted>) -> ServerBind<'_, Scripted> {
    server.at_most_once()
}

/// The log of runs and settlements.
#[derive(Default)]
struct Log(Mutex<Vec<&'static str>>);

impl Settle for Log {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().push(if outcome == Outcome::Ack {
            "acknowledged"
        } else {
            "not acknowledged"
        });
    }
}

#[tokio::test]
async fn server_that_deduplicates_answers_a_duplicate_with_the_first_reply() {
    let twice = [(request(), 1), (request(), 2)];
    let (_, log, _) = serve_logged(&twice, |server| server).await;
    assert_eq!(log, ["run", "acknowledged", "run", "acknowledged"]);
    let (replies, log, stats) =
        serve_logged(&twice, |server| server.deduplicate(Deduplication::default())).await;
    assert_eq!(log, ["run", "acknowledged", "acknowledged"]);
    assert_eq!((replies.len(), stats.answered, stats.duplicates), (2, 2, 1));
    assert_eq!(replies[0].body.as_slice(), replies[1].body.as_slice());
}

#[tokio::test]
async fn equal_call_ids_of_two_callers_are_not_duplicates() {
    let other = request().with_reply_to(ReplyTo::new("other")).with_body(&b"\x05"[..]);
    let calls = [(request(), 1), (other, 1)];
    let (replies, log, stats) =
        serve_logged(&calls, |server| server.deduplicate(Deduplication::default())).await;
    assert_eq!(log, ["run", "acknowledged", "run", "acknowledged"]);
    assert_eq!((replies[1].body.as_slice(), stats.duplicates), (Some(&b"\x0a"[..]), 0));
}

/// An earlier delivery may have begun in time.
#[tokio::test]
async fn expired_one_way_request_runs_only_if_it_was_delivered_before() {
    let expired = request().with_reply_to(None).with_deadline(Deadline::after_ms(0));
    let (_, log, stats) = serve_logged(&[(expired.clone(), 1), (expired, 2)], |it| it).await;
    assert_eq!((log, stats.expired), (vec!["acknowledged", "run", "acknowledged"], 1));
}

#[tokio::test]
async fn at_most_once_server_settles_a_request_before_it_runs() {
    let (replies, log, stats) = serve_logged(&[(request(), 1)], at_most_once).await;
    assert_eq!(log, ["acknowledged", "run"]);
    assert_eq!((replies.len(), stats.refused), (1, 0));
}

#[tokio::test]
async fn server_obeys_the_mark_of_a_request() {
    let once = || request().with_at_most_once(true);
    let (replies, log, _) = serve_logged(&[(once(), 1)], |server| server).await;
    assert_eq!((log, replies.len()), (vec!["acknowledged", "run"], 1));
    let one_way = once().with_reply_to(None);
    let (_, log, stats) = serve_logged(&[(one_way.clone(), 1), (one_way, 2)], |it| it).await;
    assert_eq!((log, stats.refused), (vec!["acknowledged", "run", "acknowledged"], 1));
}

#[tokio::test]
async fn router_marks_the_methods_that_it_has_and_no_later_ones() {
    let (transport, script) = Scripted::new(sent);
    let server = Server::bind(&transport, "service").await.unwrap();
    let log = Arc::new(Log::default());
    for method in ["math.double", "double"] {
        let request = request().with_method(Address::new(method).unwrap());
        script.deliver(Delivery::new(request, Receipt::new(log.clone(), 1)));
    }
    drop(script.incoming);
    let handler_log = log.clone();
    let double = move |n: i64| {
        handler_log.0.lock().unwrap().push("run");
        async move { Ok(n * 2) }
    };
    let math = Router::new(MessagePack).method("double", double.clone());
    let router = Router::new(MessagePack).nest("math", math).at_most_once();
    server.serve(router.method("double", double)).await.unwrap();
    assert_eq!(*log.0.lock().unwrap(), ["acknowledged", "run", "run", "acknowledged"]);
}

#[tokio::test]
async fn at_most_once_server_refuses_a_redelivered_request() {
    let (replies, log, stats) = serve_logged(&[(request(), 2)], at_most_once).await;
    assert_eq!(log, ["acknowledged"]);
    assert_eq!(replies[0].fault.as_ref().unwrap().code, Code::Interrupted);
    assert_eq!((replies[0].id, stats.refused), (Some(CallId(5)), 1));
}

#[tokio::test]
async fn window_bounds_running_handlers_even_if_the_backend_does_not() {
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
    serving.await.unwrap().unwrap();
    assert_eq!(handle.stats().answered, 5);
}

#[tokio::test]
async fn requests_of_a_dropped_server_are_redelivered() {
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
    let other = Server::bind(&memory, "service").await.unwrap();
    tokio::spawn(
        other.serve(Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) })),
    );
    stuck.abort();
    assert_eq!(call.await.unwrap(), 8);
    // The handle of a dropped server resolves at once.
    handle.drain().await;
}
