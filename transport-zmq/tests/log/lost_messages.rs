//! Log lines of messages that are lost, or may be.

use std::sync::Arc;

use polywire_codec::MessagePack;
use polywire_core::{
    Client, Fault, Publisher, Puller, Pusher, Router, Server, Subscriber, Transport, Window,
};
use polywire_zmq::{Admission, Engine, Zmq};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{PATIENCE, builder, serve, watch};

const CONNECTION_LOST: &str = "connection lost: jobs that the puller had not read are lost";
const PULLER_LEFT: &str = "a puller has left: jobs that it had not read are lost";

/// Starts a puller that connects to a pusher, and waits until it gets jobs.
#[cfg(feature = "engine-zeromq")]
async fn pull_from(pushing: &Zmq, pusher: &Pusher<MessagePack>) -> (Zmq, Puller<u32>) {
    let endpoint = pushing.local_endpoints()[0].clone();
    let pulling = builder(Engine::Zeromq).connect(endpoint).build().unwrap();
    let mut jobs = Puller::<u32>::bind(&pulling, "jobs", MessagePack).await.unwrap();
    let pushed = async {
        loop {
            pusher.push(&1).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        job = timeout(PATIENCE, jobs.next()) => job.unwrap().unwrap().unwrap().ack(),
        () = pushed => {}
    }
    (pulling, jobs)
}

#[tokio::test]
async fn loss_of_the_puller_of_a_pusher_that_connects_is_logged() {
    for engine in [
        #[cfg(feature = "engine-omq")]
        Engine::Omq,
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq,
    ] {
        let (lines, _guard) = watch();
        let pulling = builder(engine).bind("tcp://127.0.0.1:*").build().unwrap();
        let mut jobs = Puller::<u32>::bind(&pulling, "jobs", MessagePack).await.unwrap();
        let endpoint = pulling.local_endpoints()[0].clone();
        let pushing = builder(engine).connect(&endpoint).build().unwrap();
        let pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
        pusher.push(&1).await.unwrap();
        timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap().ack();
        assert_eq!(lines.find(CONNECTION_LOST), []);
        pulling.close().await.unwrap();
        drop((jobs, pulling));
        assert_eq!(lines.wait_for("WARN", CONNECTION_LOST).await["endpoint"], endpoint);
    }
}

/// One of two pullers leaves, and the pusher closes.
#[cfg(feature = "engine-zeromq")]
#[tokio::test]
async fn puller_that_leaves_a_pusher_that_binds_is_logged() {
    let (lines, _guard) = watch();
    let pushing = builder(Engine::Zeromq).bind("tcp://127.0.0.1:*").build().unwrap();
    let connecting = Pusher::connect(&pushing, "jobs", MessagePack);
    let pusher = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let first = pull_from(&pushing, &pusher).await;
    let second = pull_from(&pushing, &pusher).await;
    assert_eq!(lines.find(PULLER_LEFT), []);
    second.0.close().await.unwrap();
    drop(second);
    assert_eq!(lines.wait_for("WARN", PULLER_LEFT).await["count"], "1");
    pushing.close().await.unwrap();
    drop(first);
    // Another pusher, whose throttle has no line yet, closes before its two pullers.
    let pushing = builder(Engine::Zeromq).bind("tcp://127.0.0.1:*").build().unwrap();
    let connecting = Pusher::connect(&pushing, "jobs", MessagePack);
    let pusher = timeout(PATIENCE, connecting).await.unwrap().unwrap();
    let _pullers = [pull_from(&pushing, &pusher).await, pull_from(&pushing, &pusher).await];
    pushing.close().await.unwrap();
    assert_eq!(lines.find(PULLER_LEFT).len(), 1);
}

/// A job and an event beyond the bound of their receivers, which know no other way to say so.
#[tokio::test]
async fn receivers_name_their_bound_on_the_size_of_a_message() {
    const BEYOND: &str = "disconnected peers beyond the bounds of admission";
    for engine in [
        #[cfg(feature = "engine-omq")]
        Engine::Omq,
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq,
    ] {
        let bounded = || {
            let admission = Admission { message_max: Some(20_000), ..Admission::default() };
            builder(engine).admission(admission)
        };
        let text = "x".repeat(40_000);

        let (lines, guard) = watch();
        let pulling = bounded().bind("tcp://127.0.0.1:*").build().unwrap();
        let _jobs = Puller::<String>::bind(&pulling, "jobs", MessagePack).await.unwrap();
        let pushing = builder(engine).connect(&pulling.local_endpoints()[0]).build().unwrap();
        let pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
        pusher.push(&text).await.unwrap();
        assert_eq!(lines.wait_for("WARN", BEYOND).await["bound"], "message_max");
        drop(guard);

        let (lines, _guard) = watch();
        let publishing = builder(engine).bind("tcp://127.0.0.1:*").build().unwrap();
        let publisher = Publisher::connect(&publishing, "news", MessagePack).await.unwrap();
        let subscribing = bounded().connect(&publishing.local_endpoints()[0]).build().unwrap();
        let subscriber = Subscriber::<String>::bind(&subscribing, "news", MessagePack);
        let _events = subscriber.filter("t").await.unwrap();
        publisher.publish("t", &text).await.unwrap();
        assert_eq!(lines.wait_for("WARN", BEYOND).await["bound"], "message_max");
    }
}

/// Ten one-way calls to a server that closes before it has begun them, as one is running.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn one_way_calls_of_a_server_that_closes_are_counted() {
    let (lines, _guard) = watch();
    let serving = builder(Engine::Omq).bind("tcp://127.0.0.1:*").linger(PATIENCE).build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(1)).await.unwrap();
    let begun = Arc::new(Notify::new());
    let router = Router::new(MessagePack).method("m", {
        let begun = begun.clone();
        move |_: u32| (begun.notify_one(), std::future::pending::<Result<(), Fault>>()).1
    });
    tokio::spawn(server.serve(router));
    let calling = builder(Engine::Omq).connect(&serving.local_endpoints()[0]).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    client.request("m").send(&0).await.unwrap();
    begun.notified().await;
    for number in 1..=10 {
        client.request("m").send(&number).await.unwrap();
    }
    serving.close().await.unwrap();
    let lost = lines.find("dropped one-way calls: no server here begins them");
    let counts = lost.iter().map(|line| line["count"].parse::<u64>().unwrap());
    assert_eq!(counts.sum::<u64>(), 10, "{lost:?}");
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn handles_that_are_dropped_before_their_transport_is_closed_are_logged() {
    let (lines, _guard) = watch();
    let serving = serve(builder(Engine::Omq).bind("tcp://127.0.0.1:*")).await;
    let pulling = builder(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
    let _puller = Puller::<u32>::bind(&pulling, "jobs", MessagePack).await.unwrap();
    for closes in [true, false] {
        let calling = builder(Engine::Omq).connect(&serving.local_endpoints()[0]).build().unwrap();
        let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        client.request("m").send(&()).await.unwrap();
        let publishing = builder(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
        let publisher = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
        publisher.publish("t", &1).await.unwrap();
        let pushing = builder(Engine::Omq).connect(&pulling.local_endpoints()[0]).build().unwrap();
        let pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
        pusher.push(&1).await.unwrap();
        if closes {
            for transport in [&calling, &publishing, &pushing] {
                transport.close().await.unwrap();
            }
        }
        drop((client, publisher, pusher, calling, publishing, pushing));
    }
    for (handle, messages) in
        [("client", "one-way calls"), ("publisher", "events"), ("pusher", "jobs")]
    {
        let line = format!(
            "a {handle} was dropped before its transport was closed: if the runtime ends now, \
             {messages} that are not sent yet are lost"
        );
        // The task of a client ends later.
        lines.wait_for("WARN", &line).await;
        assert_eq!(lines.find(&line).len(), 1, "those that were closed before are not logged");
    }
}
