//! Delivery of jobs: each reaches one puller.

use std::time::Duration;

use futures_util::future::join_all;
use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Puller, Pusher, Transport, Window};
use polywire_zmq::{Side, Zmq};
use tokio::time::timeout;

use crate::support::jobs::{bound, builder, connected, next, puller, pusher, receive_all};
use crate::support::wait::PATIENCE;

#[tokio::test]
async fn either_side_may_bind() {
    let pulling = bound();
    let mut jobs = puller(&pulling).await;
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    for job in 0..10 {
        push.push(&job).await.unwrap();
        assert_eq!(next(&mut jobs).await, job);
    }

    let pushing = bound();
    let push = pusher(&pushing).await;
    let early = tokio::spawn(async move { push.push(&7).await });
    let pulling = connected(&[&pushing]);
    let mut jobs = puller(&pulling).await;
    assert_eq!(next(&mut jobs).await, 7);
    early.await.unwrap().unwrap();
}

#[tokio::test]
async fn pullers_bind_by_default_and_server_side_swaps_the_sides() {
    let pulling = builder().endpoint("tcp://127.0.0.1:*").build().unwrap();
    let mut jobs = puller(&pulling).await;
    let pushing = builder().endpoint(&pulling.local_endpoints()[0]).build().unwrap();
    pusher(&pushing).await.push(&1).await.unwrap();
    assert_eq!(next(&mut jobs).await, 1);

    let pushing =
        builder().endpoint("tcp://127.0.0.1:*").server_side(Side::Connect).build().unwrap();
    let push = pusher(&pushing).await;
    let pulling = builder()
        .endpoint(&pushing.local_endpoints()[0])
        .server_side(Side::Connect)
        .build()
        .unwrap();
    let mut jobs = puller(&pulling).await;
    push.push(&2).await.unwrap();
    assert_eq!(next(&mut jobs).await, 2);
}

/// Checks that each of 10,000 jobs of several pushers reaches exactly one of several pullers.
async fn check_exactly_once(pushers: Vec<Pusher<MessagePack>>, pullers: Vec<Puller<u32>>) {
    const TOTAL: u32 = 10_000;
    let (sender, mut received) = tokio::sync::mpsc::channel(1024);
    for mut puller in pullers {
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(job) = puller.next().await {
                sender.send(*job.unwrap()).await.unwrap();
            }
        });
    }
    let many = pushers.len() as u32;
    let push = |(first, push): (u32, Pusher<_>)| async move {
        for job in (first..TOTAL).step_by(many as usize) {
            push.push(&job).await.unwrap();
        }
    };
    let pushing: Vec<_> = (0..).zip(pushers).map(|pusher| tokio::spawn(push(pusher))).collect();
    let mut seen = vec![false; TOTAL as usize];
    for _ in 0..TOTAL {
        let job = timeout(PATIENCE, received.recv()).await.expect("no job is lost").unwrap();
        assert!(!std::mem::replace(&mut seen[job as usize], true), "job {job} arrived twice");
    }
    join_all(pushing).await.into_iter().for_each(Result::unwrap);
    assert!(received.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_of_connecting_pushers_reaches_one_puller() {
    let pulling = [bound(), bound(), bound()];
    let pullers = join_all(pulling.iter().map(puller)).await;
    let pushing: Vec<_> = (0..4).map(|_| connected(&pulling.each_ref())).collect();
    let pushers = join_all(pushing.iter().map(pusher)).await;
    check_exactly_once(pushers, pullers).await;
    close(&pulling).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_of_binding_pushers_reaches_one_puller() {
    let pushing = [bound(), bound(), bound(), bound()];
    let pushers = join_all(pushing.iter().map(pusher)).await;
    let pulling = connected(&pushing.each_ref());
    let pullers = join_all((0..3).map(|_| puller(&pulling))).await;
    check_exactly_once(pushers, pullers).await;
    close(&[pulling]).await;
}

/// Closes transports, so that the pulling tasks end before the runtime. Otherwise the runtime would
/// wait for the engine without end.
async fn close(transports: &[Zmq]) {
    for transport in transports {
        transport.close().await.unwrap();
    }
}

#[tokio::test]
async fn pusher_waits_for_a_puller_that_does_not_read_and_loses_nothing() {
    let pulling = bound();
    let mut jobs: Puller<(u32, Vec<u8>)> =
        Puller::bind(&pulling, "jobs", MessagePack).window(Window::new(1)).await.unwrap();
    let pushing = connected(&[&pulling]);
    let push = Pusher::connect(&pushing, "jobs", MessagePack)
        .timeout(Duration::from_millis(500))
        .await
        .unwrap();
    let body = vec![0u8; 20_000];
    let mut pushed = 0;
    let error = loop {
        match push.push(&(pushed, &body)).await {
            Ok(()) => pushed += 1,
            Err(error) => break error,
        }
        assert!(pushed < 20_000, "the queues are unbounded");
    };
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    for expected in 0..pushed {
        let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(job.0, expected);
    }
    // The job that timed out was not sent, and the queue has room again.
    push.push(&(u32::MAX, &body)).await.unwrap();
    assert_eq!(timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap().0, u32::MAX);
}

#[tokio::test]
async fn job_without_a_puller_is_unroutable_after_the_connect_timeout() {
    for pushing in [builder().connect("tcp://127.0.0.1:1"), builder().bind("tcp://127.0.0.1:*")] {
        let pushing = pushing.connect_timeout(Duration::from_millis(200)).build().unwrap();
        let error = timeout(PATIENCE, pusher(&pushing).await.push(&1)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        assert!(error.is_unsent());
    }
}

#[tokio::test]
async fn closed_pusher_delivers_accepted_jobs() {
    let pulling = bound();
    let jobs = puller(&pulling).await;
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    for job in 0..500 {
        push.push(&job).await.unwrap();
    }
    push.push(&u32::MAX).await.unwrap();
    pushing.close().await.unwrap();
    assert_eq!(push.push(&1).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(receive_all(jobs).await.len(), 500);
}

/// A peer pushes messages that are valid in ZeroMQ but not on the native wire.
#[tokio::test]
async fn malformed_job_is_an_error_or_dropped() {
    let pulling = bound();
    let mut jobs = puller(&pulling).await;
    let peer = Socket::try_new(SocketType::Push, Options::default()).unwrap();
    peer.connect(pulling.local_endpoints()[0].as_str()).await.unwrap();
    let envelope = |kind: u8, rest: &[u8]| {
        let head = [&[b'P', 1, kind], &[0; 13][..], rest].concat();
        Message::from_slice(&head)
    };
    // A sync marker, a request, an event and jobs of another queue are dropped. The four malformed
    // messages after them are one error each.
    for message in [
        Message::from_slice(b"\0hello\0aaaaaaaaaaaaaaaa"),
        envelope(1, b"\x01\x04jobs"),
        envelope(5, b""),
        envelope(4, b"\x01\x06others"),
        envelope(4, b"\x01\x06others\xff\0"),
        envelope(4, b""),
        Message::single(""),
        envelope(9, b""),
        envelope(4, b"\x01\x04jobs\x81\x01\x07"),
    ] {
        peer.send(message).await.unwrap();
    }
    let mut errors = 0;
    loop {
        match timeout(PATIENCE, jobs.next()).await.unwrap().unwrap() {
            Ok(job) => {
                assert_eq!(*job, 7);
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
                errors += 1;
            }
        }
    }
    assert_eq!(errors, 4);
}
