//! What is memory's own: the bound of its queues, and worlds with names.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::task::{Context, Waker};

use polywire_core::{Address, CallId, Deadline, ErrorKind, Memory, Message, Transport, Window};

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
async fn sender_that_waits_learns_that_the_last_server_went() {
    let memory = Memory::new();
    let (_replies_out, requests) = memory.responder(&service(), Window::new(1)).await.unwrap();
    let (sender, mut replies) = memory.requester(&service()).await.unwrap();
    for id in 0..1024 {
        let mut request = request();
        request.id = Some(CallId(id));
        sender.send(request).await.unwrap();
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
async fn worlds_of_one_name_are_one_and_end_with_their_last_transport() {
    let first = Memory::named("one");
    let (_replies_out, _requests) = first.responder(&service(), Window::default()).await.unwrap();
    let (sender, _replies) = Memory::named("one").requester(&service()).await.unwrap();
    sender.send(request()).await.unwrap();
    let (sender, _replies) = Memory::named("another").requester(&service()).await.unwrap();
    assert_eq!(sender.send(request()).await.unwrap_err().kind(), ErrorKind::Unroutable);
}
