//! Messages that end the process of each handler, among messages that do no harm.
//!
//! The handlers run in processes of their own: this program, started again as a [`peer`].

use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{Client, Code, DeadLetters, Publisher};
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{KINDS, connected, push};
use crate::peer::{DYING, Done, POISON, Peers, Role};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker poison_job_takes_only_itself_down,
        broker poison_event_takes_only_itself_down,
        broker poison_request_takes_only_itself_down,
        broker requests_of_a_dead_server_run_one_by_one_in_time,
    ]
}

/// Attempts and deliveries that the peers allow.
const ATTEMPTS: usize = 4;

async fn poison_job_takes_only_itself_down(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("poisoned.{name}"));
        push(&amqp, &queue, 0..=POISON).await;
        let mut peers = Peers::new(Role::Worker, &url, kind, &queue);
        let dead_letters = DeadLetters::of_queue(&amqp, &*queue).unwrap();
        only_the_poison_is_dead(&mut peers, &dead_letters, async {}).await;
    }
}

async fn poison_event_takes_only_itself_down(url: String) {
    for (name, kind) in KINDS {
        let (amqp, events) = (connected(&url, kind).await, format!("poisoned.{name}"));
        let mut peers = Peers::new(Role::Listener, &url, kind, &events);
        // The durable group collects the events from its first member on.
        peers.start().await;
        let publisher = Publisher::connect(&amqp, &*events, MessagePack).await.unwrap();
        let numbers: Vec<_> = (0..=POISON).collect();
        try_join_all(numbers.iter().map(|n| publisher.publish("all", n))).await.unwrap();
        let dead_letters = DeadLetters::of_group(&amqp, &*events, "billing").unwrap();
        only_the_poison_is_dead(&mut peers, &dead_letters, async {}).await;
    }
}

async fn poison_request_takes_only_itself_down(url: String) {
    for (name, kind) in KINDS {
        let (amqp, service) = (connected(&url, kind).await, format!("poisoned.{name}"));
        let mut peers = Peers::new(Role::Server, &url, kind, &service);
        peers.start().await;
        let client = Client::connect(&amqp, &*service, MessagePack).await.unwrap();
        let calls = (0..=POISON).map(|n| {
            let call = client.request("double").timeout(PATIENCE).start::<u32>(&n).unwrap();
            async move { (n, call.await) }
        });
        let calls = async {
            for (n, outcome) in join_all(calls).await {
                match outcome {
                    Ok(doubled) => assert_eq!(doubled, 2 * n),
                    Err(error) => {
                        assert_eq!(error.fault().map(|fault| fault.code), Some(Code::Internal));
                        assert_eq!(n, POISON, "{error:?}");
                    }
                }
            }
        };
        let dead_letters = DeadLetters::of_service(&amqp, &*service).unwrap();
        only_the_poison_is_dead(&mut peers, &dead_letters, calls).await;
    }
}

/// Starts a peer again whenever it has died, until `calls` are over, all others than the poison are
/// done and the poison is a dead letter. Checks what each handler saw.
async fn only_the_poison_is_dead(
    peers: &mut Peers,
    dead_letters: &DeadLetters<'_, Amqp>,
    calls: impl Future<Output = ()>,
) {
    let dead = async {
        loop {
            let dead = dead_letters.look(100).await.unwrap();
            if !dead.is_empty() {
                return dead;
            }
        }
    };
    let running = async {
        tokio::join!(calls, peers.run_until_done(POISON as usize));
        dead.await
    };
    let dead = timeout(PATIENCE, running).await.expect("all messages are settled");
    let mut crashed: Vec<(u32, _, _)> = dead
        .iter()
        .map(|letter| (letter.read(&MessagePack).unwrap(), letter.reason(), letter.attempts()))
        .collect();
    // A process may run the copy of the poison in the queue of suspects, and die, before it has
    // acknowledged the original: both become dead letters then, each after all attempts.
    crashed.dedup();
    let attempts = u32::try_from(ATTEMPTS).unwrap();
    assert_eq!(crashed, [(POISON, DeadLetterReason::Crashed, attempts)]);
    let done: BTreeSet<u32> = peers.done.iter().map(|done| done.number).collect();
    assert_eq!(done, (0..POISON).collect());
    for Done { number, attempt, .. } in &peers.done {
        assert_eq!(*attempt, 1, "number {number}");
    }
    // All but those that the first process has finished by chance.
    assert!(peers.done.iter().any(|done| done.is_redelivered));
    assert_eq!(peers.deaths, ATTEMPTS);
}

/// A server dies with a full window of requests. They run one by one at another server, and none
/// expires.
async fn requests_of_a_dead_server_run_one_by_one_in_time(url: String) {
    let (kind, window) = (QueueKind::Classic, 128);
    let amqp: Amqp = connected(&url, kind).await;
    let mut peers = Peers::new(Role::Server, &url, kind, "mourned");
    peers.start().await;
    let client = Client::connect(&amqp, "mourned", MessagePack).await.unwrap();
    let calls: Vec<_> = (0..window)
        .map(|_| client.request("die").timeout(Duration::from_secs(20)).start::<u32>(&DYING))
        .collect::<Result<_, _>>()
        .unwrap();
    let since = Instant::now();
    let calls = async {
        let answered = join_all(calls).await.into_iter().filter(Result::is_ok).count();
        println!("{answered} requests of a dead server: {:?}", since.elapsed());
        answered
    };
    let (answered, ()) = tokio::join!(calls, peers.run_until_done(window));
    assert_eq!((answered, peers.deaths), (window, 1));
}
