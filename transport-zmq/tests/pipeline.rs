//! Jobs over real sockets: who binds, who comes and goes, and that none is lost while nobody dies.

#![cfg(feature = "engine-omq")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

use std::time::Duration;

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Puller, Pusher, Transport, Window, Worker};
use polywire_zmq::{Engine, Side, Zmq, ZmqBuilder};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn builder() -> ZmqBuilder {
    Zmq::builder().engine(Engine::Omq).connect_timeout(Duration::from_secs(5))
}

fn bound() -> Zmq {
    builder().bind("tcp://127.0.0.1:*").build().unwrap()
}

fn connected(to: &[&Zmq]) -> Zmq {
    let endpoints = to.iter().flat_map(|zmq| zmq.local_endpoints());
    endpoints.fold(builder(), ZmqBuilder::connect).build().unwrap()
}

async fn puller(zmq: &Zmq) -> Puller<u32> {
    Puller::bind(zmq, "jobs", MessagePack).await.unwrap()
}

async fn pusher(zmq: &Zmq) -> Pusher<MessagePack> {
    Pusher::connect(zmq, "jobs", MessagePack).timeout(PATIENCE).await.unwrap()
}

async fn next(puller: &mut Puller<u32>) -> u32 {
    *timeout(PATIENCE, puller.next()).await.expect("a job comes").unwrap().unwrap()
}

/// Takes jobs until one is `u32::MAX`.
async fn take_all(mut puller: Puller<u32>) -> Vec<u32> {
    let mut taken = Vec::new();
    loop {
        match next(&mut puller).await {
            u32::MAX => return taken,
            job => taken.push(job),
        }
    }
}

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
async fn the_default_is_that_pullers_bind_and_serve_turns_it_round() {
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

/// 10,000 jobs of several pushers reach several pullers, each exactly one of them.
async fn everything_arrives_once(pushers: Vec<Pusher<MessagePack>>, pullers: Vec<Puller<u32>>) {
    const TOTAL: u32 = 10_000;
    let (tell, mut taken) = tokio::sync::mpsc::channel(1024);
    for mut puller in pullers {
        let tell = tell.clone();
        tokio::spawn(async move {
            while let Some(job) = puller.next().await {
                tell.send(*job.unwrap()).await.unwrap();
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
        let job = timeout(PATIENCE, taken.recv()).await.expect("no job is lost").unwrap();
        assert!(!std::mem::replace(&mut seen[job as usize], true), "{job} came twice");
    }
    join_all(pushing).await.into_iter().for_each(Result::unwrap);
    assert!(taken.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_pushers_dial_several_pullers_and_each_job_goes_to_one() {
    let pulling = [bound(), bound(), bound()];
    let pullers = join_all(pulling.iter().map(puller)).await;
    let pushing: Vec<_> = (0..4).map(|_| connected(&pulling.each_ref())).collect();
    let pushers = join_all(pushing.iter().map(pusher)).await;
    everything_arrives_once(pushers, pullers).await;
    close(&pulling).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_pullers_dial_several_pushers_and_each_job_goes_to_one() {
    let pushing = [bound(), bound(), bound(), bound()];
    let pushers = join_all(pushing.iter().map(pusher)).await;
    let pulling = connected(&pushing.each_ref());
    let pullers = join_all((0..3).map(|_| puller(&pulling))).await;
    everything_arrives_once(pushers, pullers).await;
    close(&[pulling]).await;
}

/// The tasks that pull are to end before the runtime does, which would wait for the engine for
/// ever.
async fn close(transports: &[Zmq]) {
    for transport in transports {
        transport.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_puller_that_does_not_read_makes_push_wait_and_nothing_is_lost() {
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
        assert!(pushed < 20_000, "the queues have no end");
    };
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    for expected in 0..pushed {
        let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(job.0, expected);
    }
    // The one that was given up was not sent, and there is room again.
    push.push(&(u32::MAX, &body)).await.unwrap();
    assert_eq!(timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap().0, u32::MAX);
}

#[tokio::test]
async fn nobody_to_take_a_job_is_unroutable_in_the_connect_time() {
    for pushing in [builder().connect("tcp://127.0.0.1:1"), builder().bind("tcp://127.0.0.1:*")] {
        let pushing = pushing.connect_timeout(Duration::from_millis(200)).build().unwrap();
        let error = timeout(PATIENCE, pusher(&pushing).await.push(&1)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        assert!(error.is_unsent());
    }
}

#[tokio::test]
async fn a_puller_of_another_queue_gets_nothing() {
    let [ours, others] = [bound(), bound()];
    let mut jobs = puller(&ours).await;
    let mut strange: Puller<u32> = Puller::bind(&others, "others", MessagePack).await.unwrap();
    let pushing = connected(&[&others, &ours]);
    let push = pusher(&pushing).await;
    for job in 0..20 {
        push.push(&job).await.unwrap();
        assert_eq!(next(&mut jobs).await, job);
    }
    assert!(futures_util::FutureExt::now_or_never(strange.next()).is_none());
    // For the pusher of another queue, nobody is there.
    let endpoint = &others.local_endpoints()[0];
    let pushing =
        builder().connect(endpoint).connect_timeout(Duration::from_millis(300)).build().unwrap();
    let error = timeout(PATIENCE, pusher(&pushing).await.push(&1)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unroutable);
}

#[tokio::test]
async fn a_dropped_puller_swallows_nothing() {
    let [first, second] = [bound(), bound()];
    let (gone, mut jobs) = (puller(&first).await, puller(&second).await);
    let pushing = connected(&[&first, &second]);
    let push = pusher(&pushing).await;
    drop(gone);
    assert!(first.local_endpoints().is_empty());
    // Those that go to it before the loss is noticed are lost; then all arrive.
    timeout(PATIENCE, async {
        let mut in_a_row = 0;
        let mut job = 0;
        while in_a_row < 100 {
            job += 1;
            push.push(&job).await.unwrap();
            in_a_row = match timeout(Duration::from_millis(200), jobs.next()).await {
                Ok(taken) => in_a_row + i32::from(*taken.unwrap().unwrap() == job),
                Err(_) => 0,
            };
        }
    })
    .await
    .expect("the dead one is noticed");
}

#[tokio::test]
async fn a_stopped_puller_yields_what_it_has_and_ends() {
    let pulling = bound();
    let mut jobs = puller(&pulling).await;
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    for job in 0..50 {
        push.push(&job).await.unwrap();
    }
    // When the last one was taken, the others had arrived before.
    assert_eq!(next(&mut jobs).await, 0);
    jobs.stop();
    let mut taken = vec![0];
    while let Some(job) = timeout(PATIENCE, jobs.next()).await.expect("it ends") {
        taken.push(*job.unwrap());
    }
    assert_eq!(taken, (0..taken.len() as u32).collect::<Vec<_>>());
    assert!(pulling.local_endpoints().is_empty());
}

#[tokio::test]
async fn a_worker_drains() {
    let pulling = bound();
    let worker = Worker::bind(&pulling, "jobs", MessagePack).await.unwrap();
    let handle = worker.handle();
    let working = tokio::spawn(worker.work(|_: u32| async move { Ok(()) }));
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    for job in 0..100 {
        push.push(&job).await.unwrap();
    }
    while handle.stats().done < 100 {
        tokio::task::yield_now().await;
    }
    timeout(PATIENCE, handle.drain()).await.expect("it drains");
    timeout(PATIENCE, working).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_puller_that_comes_back_at_its_port_goes_on() {
    let pulling = bound();
    let mut jobs = puller(&pulling).await;
    let endpoint = pulling.local_endpoints()[0].clone();
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    push.push(&1).await.unwrap();
    assert_eq!(next(&mut jobs).await, 1);
    pulling.close().await.unwrap();
    assert!(jobs.next().await.is_none());
    let mut jobs = rebind(&endpoint).await;
    // Some may be lost with the connection, before the pusher learns of it.
    let arrived = timeout(PATIENCE, async {
        for job in 2.. {
            push.push(&job).await.unwrap();
            if let Ok(taken) = timeout(Duration::from_millis(100), jobs.1.next()).await {
                return *taken.unwrap().unwrap();
            }
        }
        0
    });
    assert!(arrived.await.unwrap() >= 2);
}

/// Binds where somebody was whose socket may take a moment to go.
async fn rebind(endpoint: &str) -> (Zmq, Puller<u32>) {
    timeout(PATIENCE, async {
        loop {
            let pulling = builder().bind(endpoint).build().unwrap();
            if let Ok(puller) = Puller::bind(&pulling, "jobs", MessagePack).await {
                return (pulling, puller);
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the endpoint is free again")
}

#[tokio::test]
async fn a_port_can_be_had_by_one_end_only() {
    let first = bound();
    let _jobs = puller(&first).await;
    let second = builder().bind(&first.local_endpoints()[0]).build().unwrap();
    let error = Puller::<u32>::bind(&second, "jobs", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("another endpoint handle"), "{error}");
    assert!(second.local_endpoints().is_empty());
}

#[tokio::test]
async fn a_closed_pusher_delivers_what_it_has() {
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
    assert_eq!(take_all(jobs).await.len(), 500);
}

/// What a stranger pushes who speaks ZeroMQ, but not quite our wire.
#[tokio::test]
async fn what_is_no_job_is_an_error_or_nothing() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let pulling = bound();
    let mut jobs = puller(&pulling).await;
    let stranger = Socket::try_new(SocketType::Push, Options::default()).unwrap();
    stranger.connect(pulling.local_endpoints()[0].as_str()).await.unwrap();
    let envelope = |kind: u8, rest: &[u8]| {
        let head = [&[b'P', 1, kind], &[0; 13][..], rest].concat();
        Message::from_slice(&head)
    };
    // A hello, a request, an event, a job of another queue: nothing. One of no queue, and one of
    // none: an error each.
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
        stranger.send(message).await.unwrap();
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
