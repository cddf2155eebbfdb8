//! In-memory transport: bounds of its queues, and named namespaces.

use std::future::{IntoFuture, poll_fn};
use std::task::{Context, Waker};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::CallId;
use polywire_core::{
    Address, Client, Deadline, ErrorKind, Group, Memory, Message, Server, Subscriber, Transport,
    Window, Worker,
};

fn service() -> Address {
    Address::new("service").unwrap()
}

fn request() -> Message {
    Message::request(Address::new("method").unwrap(), Deadline::after_ms(1_000))
}

#[tokio::test]
async fn full_queue_makes_its_senders_wait() {
    let memory = Memory::new();
    let (_replies_out, mut requests) = memory.responder(&service(), Window::new(1)).await.unwrap();
    let (sender, _replies) = memory.requester(&service()).await.unwrap();
    for _ in 0..1024 {
        sender.send(request()).await.unwrap();
    }
    let mut waiting = Box::pin(sender.send(request()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    requests.next().await.unwrap().unwrap().receipt.ack();
    waiting.await.unwrap();
}

#[tokio::test]
async fn waiting_sender_fails_when_the_last_server_stops() {
    let memory = Memory::new();
    let (_replies_out, requests) = memory.responder(&service(), Window::new(1)).await.unwrap();
    let (sender, mut replies) = memory.requester(&service()).await.unwrap();
    for id in 0..1024 {
        sender.send(request().with_id(CallId(id))).await.unwrap();
    }
    let mut waiting = Box::pin(sender.send(request()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(requests);
    assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Unroutable);
    for _ in 0..1024 {
        let error = replies.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        assert!(error.call().is_some());
    }
}

#[tokio::test]
async fn namespaces_of_one_name_are_one_and_end_with_their_last_transport() {
    let first = Memory::named("one");
    let (_replies_out, _requests) = first.responder(&service(), Window::default()).await.unwrap();
    let (sender, _replies) = Memory::named("one").requester(&service()).await.unwrap();
    sender.send(request()).await.unwrap();
    let (sender, _replies) = Memory::named("another").requester(&service()).await.unwrap();
    assert_eq!(sender.send(request()).await.unwrap_err().kind(), ErrorKind::Unroutable);
}

#[tokio::test]
async fn job_that_waits_for_room_fails_when_its_transport_is_closed() {
    let memory = Memory::new();
    let others = memory.peer();
    let pusher = memory.pusher(&service()).await.unwrap();
    for _ in 0..1024 {
        pusher.send(request()).await.unwrap();
    }
    let mut waiting = Box::pin(pusher.send(request()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    memory.close().await.unwrap();
    let mut jobs = others.puller(&service(), Window::new(1)).await.unwrap();
    jobs.next().await.unwrap().unwrap().receipt.ack();
    assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn closed_responder_sends_no_replies() {
    let memory = Memory::new();
    let others = memory.peer();
    let (replies, mut requests) = memory.responder(&service(), Window::new(1)).await.unwrap();
    let (sender, _replies) = others.requester(&service()).await.unwrap();
    sender.send(request()).await.unwrap();
    let request = requests.next().await.unwrap().unwrap();
    memory.close().await.unwrap();
    let reply = Message::new("done").with_reply_to(request.message.reply_to.clone());
    assert_eq!(replies.send(reply).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn requeued_jobs_keep_their_positions() {
    let memory = Memory::new();
    let pusher = memory.pusher(&service()).await.unwrap();
    for n in 0..100_u8 {
        pusher.send(Message::new(vec![n])).await.unwrap();
    }
    let mut leaving = memory.puller(&service(), Window::new(50)).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(leaving.next().await.unwrap().unwrap());
    }
    held.truncate(30);
    drop((held, leaving));
    let mut successor = memory.puller(&service(), Window::new(100)).await.unwrap();
    for n in 0..100_u8 {
        let job = successor.next().await.unwrap().unwrap();
        assert_eq!(job.message.body.as_slice(), Some(&[n][..]));
        job.receipt.ack();
    }
}

#[tokio::test]
async fn group_is_durable_for_all_its_members_or_for_none() {
    let memory = Memory::new();
    let join = |durable: bool| {
        let group = Group::new("archive").unwrap();
        let group = if durable { group.durable() } else { group };
        let subscriber =
            Subscriber::<u8>::bind(&memory, "events", MessagePack).filter("#").group(group);
        subscriber.into_future()
    };
    let durable = join(true).await.unwrap();
    assert_eq!(join(false).await.unwrap_err().kind(), ErrorKind::Config);
    drop(durable);
    assert_eq!(join(false).await.unwrap_err().kind(), ErrorKind::Config);
    assert!(join(true).await.is_ok());
}

#[tokio::test]
async fn dropped_server_and_worker_that_never_ran_are_drained() {
    let memory = Memory::new();
    let server = Server::bind(&memory, "service").await.unwrap();
    let handle = server.handle();
    drop(server);
    handle.drain().await;
    let worker = Worker::bind(&memory, "jobs", MessagePack).await.unwrap();
    let handle = worker.handle();
    tokio::spawn(worker.work(|(): ()| async { Ok(()) })).abort();
    handle.drain().await;
}

#[tokio::test]
async fn message_with_a_reserved_header_is_refused() {
    let memory = Memory::new();
    let pusher = memory.pusher(&service()).await.unwrap();
    let message = request().with_header("polywire.trace", "theirs");
    let error = pusher.send(message).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.is_unsent(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn server_gets_the_reason_why_a_caller_stops_waiting() {
    let memory = Memory::new();
    let service = Address::new("slow").unwrap();
    let (_replies, mut requests) = memory.responder(&service, Window::default()).await.unwrap();
    let client = Client::connect(&memory, "slow", MessagePack).await.unwrap();
    for is_expired in [true, false] {
        let call = client.request("run").timeout(Duration::from_secs(5)).start::<()>(&()).unwrap();
        let delivery = requests.next().await.unwrap().unwrap();
        if is_expired {
            assert!(call.await.is_err());
        } else {
            drop(call);
        }
        let abandoned = poll_fn(|cx| requests.poll_abandoned(cx)).await;
        assert_eq!(abandoned.is_expired, is_expired);
        delivery.receipt.ack();
    }
}
