//! How the broker keeps queues: what is asked for is there, and what it means.

use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, AmqpBuilder, QueueKind, QueueOptions, QueueOverflow};
use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::{
    Address, Client, DeadLetters, Deadline, ErrorKind, Group, Job, Message, Puller, Pusher, Server,
    Subscriber, Transport, Window,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::stage::{PATIENCE, channel, consume, until_dead, waiting};
use crate::{alone, broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        node("queues_are_made_as_they_were_asked_for", queues_are_made_as_they_were_asked_for),
        broker("clash_of_arguments_names_both_values", clash_of_arguments_names_both_values),
        broker(
            "passive_queue_is_found_or_missing_and_never_made",
            passive_queue_is_found_or_missing_and_never_made,
        ),
        broker("full_queue_refuses_and_says_so", full_queue_refuses_and_says_so),
        node("what_waits_comes_back_to_a_full_queue", what_waits_comes_back_to_a_full_queue),
        broker("oldest_job_leaves_a_full_queue", oldest_job_leaves_a_full_queue),
        broker("latest_dead_letters_are_kept", latest_dead_letters_are_kept),
        broker(
            "urgent_jobs_and_requests_are_taken_first",
            urgent_jobs_and_requests_are_taken_first,
        ),
        broker(
            "what_comes_back_too_often_is_buried_by_the_broker",
            what_comes_back_too_often_is_buried_by_the_broker,
        ),
        broker(
            "what_is_there_too_long_is_buried_if_asked_for",
            what_is_there_too_long_is_buried_if_asked_for,
        ),
        alone(
            "options_that_make_no_sense_are_refused_before_connecting",
            options_that_make_no_sense_are_refused,
        ),
    ]
}

async fn queues_are_made_as_they_were_asked_for() {
    let node = Node::start().unwrap();
    let quorum = || QueueOptions::new().kind(QueueKind::Quorum);
    let builder = Amqp::builder(&node.url()).unwrap();
    let amqp = builder
        .queue_options(QueueOptions::new().lazy())
        .service_queue("quotes", QueueOptions::new().message_ttl(Duration::from_secs(5)))
        .job_queue("payments", quorum().delivery_limit(7))
        .group_queue(
            "orders",
            "billing",
            quorum().length(10, QueueOverflow::DropOldest).expires(Duration::from_secs(30)),
        )
        .build()
        .await
        .unwrap();
    let _server = Server::bind(&amqp, "quotes").await.unwrap();
    let _usual = Puller::<u32>::bind(&amqp, "usual", MessagePack).await.unwrap();
    let _jobs = Puller::<u32>::bind(&amqp, "payments", MessagePack).await.unwrap();
    let group = Group::new("billing").unwrap().durable();
    let _events = Subscriber::<u32>::bind(&amqp, "orders", MessagePack).group(group).await.unwrap();
    let queues = node.ctl(&["list_queues", "name", "durable", "exclusive", "arguments"]).unwrap();
    for (name, arguments) in [
        ("polywire.quotes", &["{\"x-message-ttl\",5000}"][..]),
        ("polywire.jobs.usual", &["{\"x-queue-mode\",\"lazy\"}"]),
        (
            "polywire.jobs.payments",
            &[
                "{\"x-queue-type\",\"quorum\"}",
                "{\"x-delivery-limit\",7}",
                "{\"x-dead-letter-routing-key\",\"polywire.dead.jobs.payments\"}",
                "{\"x-dead-letter-strategy\",\"at-least-once\"}",
            ],
        ),
        ("polywire.dead.jobs.payments", &["{\"x-queue-type\",\"quorum\"}"]),
        (
            "polywire.events.orders..group.billing",
            &["{\"x-max-length\",10}", "{\"x-overflow\",\"drop-head\"}", "{\"x-expires\",30000}"],
        ),
    ] {
        let line = queues.lines().find(|line| line.split('\t').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not there: {queues}"));
        assert!(line.contains("\ttrue\t") && !line.contains("\ttrue\ttrue\t"), "{line}");
        assert!(arguments.iter().all(|argument| line.contains(argument)), "{line}");
    }
}

async fn clash_of_arguments_names_both_values(url: String) {
    let with = async |options| builder(&url).job_queue("clashing", options).build().await.unwrap();
    let first = with(QueueOptions::new().priorities(5)).await;
    let _pusher = Pusher::connect(&first, "clashing", MessagePack).await.unwrap();
    for (options, ours) in [(QueueOptions::new().priorities(9), "9"), (QueueOptions::new(), "none")]
    {
        let amqp = with(options).await;
        let error = Puller::<u32>::bind(&amqp, "clashing", MessagePack).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let details = ["queue", "argument", "ours", "theirs"].map(|name| error.detail(name));
        let expected =
            [Some("polywire.jobs.clashing"), Some("x-max-priority"), Some(ours), Some("5")];
        assert_eq!(details, expected, "{error:?}");
    }
}

async fn passive_queue_is_found_or_missing_and_never_made(url: String) {
    let amqp = builder(&url).queue_options(QueueOptions::new().passive()).build().await.unwrap();
    for _ in 0..2 {
        let error = Pusher::connect(&amqp, "unmade.passive", MessagePack).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("queue"), Some("polywire.jobs.unmade.passive"));
    }
    assert_eq!(Server::bind(&amqp, "unmade.passive").await.unwrap_err().kind(), ErrorKind::Config);
    // Made by somebody else, with arguments that we do not know.
    let other = builder(&url)
        .job_queue("made.passive", QueueOptions::new().priorities(3))
        .build()
        .await
        .unwrap();
    let _made = Pusher::connect(&other, "made.passive", MessagePack).await.unwrap();
    let pusher = Pusher::connect(&amqp, "made.passive", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    next(&mut puller(&amqp, "made.passive", 1).await).await.ack();
}

async fn full_queue_refuses_and_says_so(url: String) {
    for (queue, kind) in [("full.classic", QueueKind::Classic), ("full.quorum", QueueKind::Quorum)]
    {
        let options = QueueOptions::new().kind(kind).length(3, QueueOverflow::Reject);
        let amqp = builder(&url).job_queue(queue, options.clone()).service_queue(queue, options);
        let amqp = amqp.build().await.unwrap();
        let pusher = Pusher::connect(&amqp, queue, MessagePack).await.unwrap();
        // A quorum queue notices a little late.
        let mut taken = 0;
        let error = loop {
            match pusher.push(&taken).await {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 100, "{kind:?}: nothing is refused");
        };
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Overloaded, false), "{error:?}");
        assert_eq!(error.detail("queue"), Some(format!("polywire.jobs.{queue}").as_str()));
        assert!(taken >= 3, "{taken} were taken");
        let refused = full_service_refuses(&amqp, queue).await;
        assert_eq!(refused, Some(ErrorKind::Overloaded), "{kind:?}");
        let mut jobs = puller(&amqp, queue, 1).await;
        for expected in 0..taken {
            let job = next(&mut jobs).await;
            assert_eq!(*job, expected);
            job.ack();
        }
    }
}

/// Sends requests until one is refused, since nobody serves.
async fn full_service_refuses(amqp: &Amqp, service: &str) -> Option<ErrorKind> {
    drop(Server::bind(amqp, service).await.unwrap());
    let (requests, _replies) = amqp.requester(&Address::new(service).unwrap()).await.unwrap();
    for _ in 0..100 {
        let request = Message::request(Address::new("wait").unwrap(), Deadline::after(PATIENCE));
        if let Err(error) = requests.send(request).await {
            return Some(error.kind());
        }
    }
    None
}

async fn what_waits_comes_back_to_a_full_queue() {
    // Unless it is told otherwise, it tries again after three minutes what was refused.
    let node = Node::start_with_advanced(
        "",
        "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 500}]}].",
    );
    let (node, options) = (node.unwrap(), QueueOptions::new().length(1, QueueOverflow::Reject));
    let amqp = builder(&node.url()).job_queue("full.later", options).build().await.unwrap();
    let pusher = Pusher::connect(&amqp, "full.later", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    let mut jobs = puller(&amqp, "full.later", 1).await;
    next(&mut jobs).await.retry_after(Duration::from_millis(256), "").unwrap();
    let second = async { while pusher.push(&2).await.is_err() {} };
    timeout(PATIENCE, second).await.expect("there is room again");
    let held = next(&mut jobs).await;
    let third = async { while pusher.push(&3).await.is_err() {} };
    timeout(PATIENCE, third).await.expect("there is room again");
    // The first one is refused, since there is no room until the next is taken.
    let channel = channel(&node.url()).await;
    let refused =
        async { while waiting(&channel, "polywire.retry.jobs.full.later..256").await > 0 {} };
    timeout(PATIENCE, refused).await.expect("it is due");
    assert_eq!(waiting(&channel, "polywire.jobs.full.later").await, 1);
    held.ack();
    let mut numbers = Vec::new();
    while numbers.len() < 2 {
        let job = next(&mut jobs).await;
        numbers.push(*job);
        job.ack();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3]);
}

async fn oldest_job_leaves_a_full_queue(url: String) {
    let options = QueueOptions::new().length(2, QueueOverflow::DropOldest).dead_letters();
    let amqp = builder(&url).job_queue("shifting", options).build().await.unwrap();
    let pusher = Pusher::connect(&amqp, "shifting", MessagePack).await.unwrap();
    for n in 0..3 {
        pusher.push(&n).await.unwrap();
    }
    let letters = until_dead(&amqp, "shifting", 1).await;
    assert_eq!(
        (letters[0].reason(), letters[0].read::<u32>(&MessagePack).unwrap()),
        (DeadLetterReason::Overflowed, 0)
    );
    let mut jobs = puller(&amqp, "shifting", 1).await;
    let discarded = next(&mut jobs).await;
    assert_eq!(*discarded, 1);
    // What is discarded is forgotten, although the queue keeps what the broker takes out.
    discarded.discard();
    next(&mut jobs).await.ack();
    drop(jobs);
    until_dead(&amqp, "shifting", 1).await;
}

async fn latest_dead_letters_are_kept(url: String) {
    for (queue, kind) in
        [("mortal.classic", QueueKind::Classic), ("mortal.quorum", QueueKind::Quorum)]
    {
        let options = QueueOptions::new().kind(kind).dead_letters_max(2);
        let amqp = builder(&url).job_queue(queue, options).build().await.unwrap();
        let pusher = Pusher::connect(&amqp, queue, MessagePack).await.unwrap();
        let (mut jobs, dead) =
            (puller(&amqp, queue, 1).await, DeadLetters::of_queue(&amqp, queue).unwrap());
        for n in 0..4 {
            pusher.push(&n).await.unwrap();
            next(&mut jobs).await.dead_letter("").unwrap();
            // One dies after the other.
            let dying = async {
                while dead
                    .look(9)
                    .await
                    .unwrap()
                    .last()
                    .map(|letter| letter.read(&MessagePack).unwrap())
                    != Some(n)
                {}
            };
            timeout(PATIENCE, dying).await.expect("it is dead");
        }
        let letters = until_dead(&amqp, queue, 2).await;
        let numbers: Vec<u32> =
            letters.iter().map(|letter| letter.read(&MessagePack).unwrap()).collect();
        assert_eq!(numbers, [2, 3], "{kind:?}");
    }
}

async fn urgent_jobs_and_requests_are_taken_first(url: String) {
    let urgent = || QueueOptions::new().priorities(5);
    let amqp = builder(&url)
        .job_queue("urgent", urgent())
        .service_queue("urgent", urgent())
        .build()
        .await
        .unwrap();
    let pusher = Pusher::connect(&amqp, "urgent", MessagePack).await.unwrap();
    for (job, priority) in [(1, 0), (2, 5), (3, 1)] {
        pusher.with_priority(priority).push(&job).await.unwrap();
    }
    let mut jobs = puller(&amqp, "urgent", 1).await;
    for expected in [2, 3, 1] {
        let job = next(&mut jobs).await;
        assert_eq!(*job, expected);
        job.ack();
    }
    drop(Server::bind(&amqp, "urgent").window(Window::new(1)).await.unwrap());
    let client = Client::connect(&amqp, "urgent", MessagePack).await.unwrap();
    let mut calls = Vec::new();
    for (method, priority) in [("slow", 0), ("quick", 5)] {
        let mut call = client.request(method).priority(priority).start::<()>(&1).unwrap();
        call.handed_over().await;
        calls.push(call);
    }
    let name = Address::new("urgent").unwrap();
    let (_, mut requests) = amqp.responder(&name, Window::new(1)).await.unwrap();
    let first = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.message.method.as_ref().unwrap().as_str(), "quick");
    assert_eq!(first.message.priority, Some(5));
}

async fn what_comes_back_too_often_is_buried_by_the_broker(url: String) {
    let options = QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(2);
    let amqp = builder(&url).job_queue("limited", options).build().await.unwrap();
    Pusher::connect(&amqp, "limited", MessagePack).await.unwrap().push(&1).await.unwrap();
    let mut jobs = puller(&amqp, "limited", 1).await;
    for attempt in 1..=3 {
        let job = next(&mut jobs).await;
        assert_eq!(job.context().attempt, attempt);
        job.requeue().unwrap();
    }
    let letters = until_dead(&amqp, "limited", 1).await;
    assert_eq!(
        (letters[0].reason(), letters[0].read::<u32>(&MessagePack).unwrap()),
        (DeadLetterReason::Crashed, 1)
    );
    assert!(letters[0].at().unwrap().elapsed().unwrap() < PATIENCE * 2, "{letters:?}");
    println!("after {} attempts", letters[0].attempts());
    let dead = DeadLetters::of_queue(&amqp, "limited").unwrap();
    assert_eq!(dead.redrive(9, |_| true).await.unwrap(), 1);
    let job = next(&mut jobs).await;
    assert_eq!((job.context().attempt, job.context().redriven()), (1, 1));
    job.requeue().unwrap();
    // It dies again of the same: the broker is not told that it went round in a circle.
    for _ in 0..2 {
        next(&mut jobs).await.requeue().unwrap();
    }
    assert_eq!(until_dead(&amqp, "limited", 1).await[0].redriven(), 1);
}

async fn what_is_there_too_long_is_buried_if_asked_for(url: String) {
    let short = QueueOptions::new().message_ttl(Duration::from_millis(50));
    let builder = builder(&url)
        .job_queue("kept.short", short.clone().dead_letters())
        .job_queue("gone.short", short);
    let amqp = builder.build().await.unwrap();
    for queue in ["kept.short", "gone.short"] {
        Pusher::connect(&amqp, queue, MessagePack).await.unwrap().push(&1).await.unwrap();
    }
    assert_eq!(until_dead(&amqp, "kept.short", 1).await[0].reason(), DeadLetterReason::Expired);
    let channel = channel(&url).await;
    let gone = async { while waiting(&channel, "polywire.jobs.gone.short").await > 0 {} };
    timeout(PATIENCE, gone).await.expect("it is gone");
    until_dead(&amqp, "gone.short", 0).await;
    let _ = consume(&channel, "polywire.dead.jobs.gone.short").await;
}

async fn options_that_make_no_sense_are_refused() {
    let nowhere = || Amqp::builder("amqp://localhost:1").unwrap();
    for builder in [
        nowhere().job_queue("fast", QueueOptions::new().kind(QueueKind::Quorum).priorities(3)),
        nowhere().queue_kind(QueueKind::Quorum).job_queue("fast", QueueOptions::new().lazy()),
        nowhere().service_queue("jobs.wrong", QueueOptions::new()),
        nowhere().job_queue("two words", QueueOptions::new()),
    ] {
        assert_eq!(builder.build().await.unwrap_err().kind(), ErrorKind::Config);
    }
    let error = nowhere()
        .job_queue("fast", QueueOptions::new().delivery_limit(1))
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.detail("queue"), Some("polywire.jobs.fast"));
}

fn builder(url: &str) -> AmqpBuilder {
    Amqp::builder(url).unwrap()
}

async fn puller(amqp: &Amqp, queue: &str, window: usize) -> Puller<u32> {
    Puller::bind(amqp, queue, MessagePack).window(Window::new(window)).await.unwrap()
}

async fn next(puller: &mut Puller<u32>) -> Job<u32> {
    timeout(PATIENCE, puller.next()).await.expect("a job comes").unwrap().unwrap()
}
