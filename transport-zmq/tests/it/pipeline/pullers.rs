//! Pullers that connect, stop and come back.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Puller, Transport, Window, Worker};
use polywire_zmq::{Admission, Engine, Zmq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::engine::ENGINE;
use crate::support::jobs::{bound, builder, connected, next, puller, pusher};
use crate::support::wait::{PATIENCE, stays_connected};

#[tokio::test]
async fn puller_of_another_queue_receives_nothing() {
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
    // Jobs for a puller of another queue are unroutable.
    let endpoint = &others.local_endpoints()[0];
    let pushing =
        builder().connect(endpoint).connect_timeout(Duration::from_millis(300)).build().unwrap();
    let error = timeout(PATIENCE, pusher(&pushing).await.push(&1)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unroutable);
}

#[tokio::test]
async fn dropped_puller_receives_nothing() {
    let [first, second] = [bound(), bound()];
    let (gone, mut jobs) = (puller(&first).await, puller(&second).await);
    let pushing = connected(&[&first, &second]);
    let push = pusher(&pushing).await;
    drop(gone);
    assert!(first.local_endpoints().is_empty());
    // Jobs are lost until the pusher detects the loss of the puller. Then all jobs arrive.
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
    .expect("the pusher detects the lost puller");
}

#[tokio::test]
async fn stopped_puller_yields_its_jobs_and_ends() {
    let pulling = bound();
    let mut jobs = puller(&pulling).await;
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    for job in 0..50 {
        push.push(&job).await.unwrap();
    }
    assert_eq!(next(&mut jobs).await, 0);
    jobs.stop();
    let mut taken = vec![0];
    while let Some(job) =
        timeout(PATIENCE, jobs.next()).await.expect("the puller or its worker ends")
    {
        taken.push(*job.unwrap());
    }
    assert_eq!(taken, (0..taken.len() as u32).collect::<Vec<_>>());
    assert!(pulling.local_endpoints().is_empty());
}

/// The handshake may last for an hour, and neither holds up the end of the puller nor outlasts it.
/// Engine omq ends it by itself with the endpoint.
#[tokio::test]
async fn stopped_puller_ends_and_disconnects_a_peer_in_its_handshake() {
    let handshake_timeout = Duration::from_hours(1);
    let admission = Admission { handshake_timeout, ..Admission::default() };
    let pulling = builder().bind("tcp://127.0.0.1:*").admission(admission).build().unwrap();
    let mut jobs = puller(&pulling).await;
    let endpoint = pulling.local_endpoints()[0].clone();
    let mut peer = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xFF, 0x7F, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    peer.write_all(&greeting).await.unwrap();
    // The greeting of the puller proves that the handshake has begun.
    timeout(PATIENCE, peer.read_exact(&mut greeting)).await.unwrap().unwrap();

    jobs.stop();
    assert!(timeout(PATIENCE, jobs.next()).await.expect("the puller ends").is_none());
    // The peer goes on, and a failure means that it is disconnected already.
    let _ = peer.write_all(b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PUSH").await;
    let ended = timeout(PATIENCE, peer.read_to_end(&mut Vec::new())).await;
    let _ = ended.expect("the peer is disconnected");
}

#[tokio::test]
async fn worker_drains() {
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
    timeout(PATIENCE, handle.drain()).await.expect("the worker drains");
    timeout(PATIENCE, working).await.expect("the puller or its worker ends").unwrap().unwrap();
}

#[tokio::test]
async fn puller_that_binds_its_port_again_receives_jobs() {
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
    // Jobs are lost until the pusher detects the lost connection.
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

#[tokio::test]
async fn jobs_that_a_lost_puller_did_not_get_go_to_the_next_one() {
    const TOTAL: u32 = 600;
    if ENGINE == Engine::Omq {
        not_run!("engine omq does not tell which jobs of a lost connection it has written");
    }
    let pulling = bound();
    let window = Window::new(1);
    let mut jobs: Puller<(u32, String)> =
        Puller::bind(&pulling, "jobs", MessagePack).window(window).await.unwrap();
    let endpoint = pulling.local_endpoints()[0].clone();
    let pushing = connected(&[&pulling]);
    let push = pusher(&pushing).await;
    // More than the buffers of the kernel hold.
    let body = "x".repeat(100_000);
    for job in 0..TOTAL {
        push.push(&(job, &body)).await.unwrap();
    }
    assert_eq!(timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap().0, 0);
    pulling.close().await.unwrap();
    drop(jobs);

    let rebinding = async {
        loop {
            let pulling = builder().bind(&endpoint).build().unwrap();
            let bound = Puller::<(u32, String)>::bind(&pulling, "jobs", MessagePack).await;
            if let Ok(puller) = bound {
                return (pulling, puller);
            }
            tokio::task::yield_now().await;
        }
    };
    let (_pulling, mut jobs) = timeout(PATIENCE, rebinding).await.expect("the port is free again");
    let mut next = async || timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap().0;
    let first = next().await;
    assert!(first > 0, "the first job came twice");
    for expected in first + 1..TOTAL {
        assert_eq!(next().await, expected);
    }
}

/// A few jobs leave room for heartbeats behind them, which the puller does not read. Many fill the
/// buffers of the kernel, so that the pusher cannot write.
#[tokio::test(flavor = "multi_thread")]
async fn puller_that_is_busy_for_many_heartbeats_misses_no_job() {
    const HEARTBEAT: Duration = Duration::from_millis(500);
    for (total, size) in [(20_u32, 10), (600, 100_000)] {
        let pulling = builder().bind("tcp://127.0.0.1:*").heartbeat(HEARTBEAT).build().unwrap();
        let mut jobs: Puller<(u32, String)> =
            Puller::bind(&pulling, "jobs", MessagePack).window(Window::new(1)).await.unwrap();
        let endpoint = &pulling.local_endpoints()[0];
        let pushing = builder().connect(endpoint).heartbeat(HEARTBEAT).build().unwrap();
        let push = pusher(&pushing).await;
        let body = "x".repeat(size);
        for job in 0..total {
            timeout(PATIENCE, push.push(&(job, &body))).await.expect("there is room").unwrap();
        }
        stays_connected(&pushing, HEARTBEAT).await;
        for expected in 0..total {
            let job = timeout(PATIENCE, jobs.next()).await.expect("the job arrives");
            assert_eq!(job.unwrap().unwrap().0, expected, "jobs of {size} bytes");
        }
    }
}

/// Binds the port of a closed socket as soon as the port is free.
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
async fn fixed_port_is_bound_by_one_handle_only() {
    let first = bound();
    let _jobs = puller(&first).await;
    let second = builder().bind(&first.local_endpoints()[0]).build().unwrap();
    let error = Puller::<u32>::bind(&second, "jobs", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("another endpoint handle"), "{error}");
    assert!(second.local_endpoints().is_empty());
}
