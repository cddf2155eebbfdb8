//! The property `message_id`: of other programs, in the broker, and shared by several calls.

use futures_util::future::join_all;
use lapin::BasicProperties;
use libtest_mimic::Trial;
use polywire_core::{CallError, DeadLetters, ErrorKind, Job};

use crate::context::PATIENCE;
use crate::endpoints::{KINDS, client, connected, dead_letters, next_job, puller, pusher, serve};
use crate::engine::{channel, consume_one, publish};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker ids_of_other_programs_stay_through_all_attempts,
        broker ids_of_pushers_are_the_property,
        broker calls_with_one_id_each_get_their_own_outcome,
    ]
}

fn id_of(job: &Job<u32>) -> Option<String> {
    job.context().message_id().map(|id| id.to_string())
}

async fn ids_of_other_programs_stay_through_all_attempts(url: String) {
    let theirs = Some("a6002743-aa77-42b9-b0ae-5c9b46ceabeb".to_owned());
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("foreign.ids.{name}"));
        let mut jobs = puller(&amqp, &queue, 4).await;
        let foreign = BasicProperties::default()
            .with_content_type("application/msgpack".into())
            .with_message_id(theirs.as_deref().unwrap().into());
        publish(&channel(&url).await, &format!("polywire.jobs.{queue}"), foreign).await;
        let job = next_job(&mut jobs).await;
        assert_eq!(id_of(&job), theirs);
        job.requeue().unwrap();
        let job = next_job(&mut jobs).await;
        assert_eq!((id_of(&job), job.context().attempt), (theirs.clone(), 2));
        job.dead_letter("no").unwrap();
        let found = dead_letters(&amqp, &queue, 1).await;
        assert_eq!(found[0].message_id().map(|id| id.to_string()), theirs);
        let dead = DeadLetters::of_queue(&amqp, &*queue).unwrap();
        assert_eq!(dead.count().await.unwrap(), 1);
        assert_eq!(dead.redrive(9, |_| true).await.unwrap(), 1);
        assert_eq!(id_of(&next_job(&mut jobs).await), theirs);
        assert_eq!(dead.count().await.unwrap(), 0);
    }
}

async fn ids_of_pushers_are_the_property(url: String) {
    for (name, kind) in KINDS {
        let (amqp, queue) = (connected(&url, kind).await, format!("own.ids.{name}"));
        let pusher = pusher(&amqp, &queue).await;
        pusher.with_message_id("order-7").unwrap().push(&1_u32).await.unwrap();
        pusher.push(&2_u32).await.unwrap();
        let (channel, queue) = (channel(&url).await, format!("polywire.jobs.{queue}"));
        let chosen = consume_one(&channel, &queue).await;
        assert_eq!(chosen.message_id().as_ref().unwrap().as_str(), "order-7");
        let made = consume_one(&channel, &queue).await;
        assert!(made.message_id().as_ref().unwrap().as_str().len() > 20, "{made:?}");
    }
}

async fn calls_with_one_id_each_get_their_own_outcome(url: String) {
    let amqp = connected(&url, KINDS[0].1).await;
    let missing = client(&amqp, "same.id.missing").await;
    let _server = serve(&amqp, "same.id").await;
    let served = client(&amqp, "same.id").await;
    let calls = (0..100_u32).map(|n| {
        let client = if n % 2 == 0 { &served } else { &missing };
        async move {
            let call = client.request("double").message_id("order-7").timeout(PATIENCE);
            call.call::<u32>(&n).await
        }
    });
    for (n, outcome) in (0..).zip(join_all(calls).await) {
        match (n % 2, outcome) {
            (0, Ok(doubled)) => assert_eq!(doubled, 2 * n),
            (1, Err(CallError::Failed(error))) => assert_eq!(error.kind(), ErrorKind::Unroutable),
            (_, outcome) => panic!("call {n} ended with {outcome:?}"),
        }
    }
}
