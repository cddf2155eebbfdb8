//! Loops over operations that end at once take part in tokio's budget: they yield now and then.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_codec::MessagePack;
use polywire_core::middleware::CircuitBreaker;
use polywire_core::rpc::Requester;
use polywire_core::{
    Address, Client, Deadline, Memory, Message, Publisher, Puller, Pusher, Request, Router, Server,
    Service, Subscriber, Transport, Window, Worker, service_fn,
};

use crate::scripted::{Scripted, sent};

/// Loops over an operation in four tasks, while a fifth one counts its turns on the same thread.
async fn shares_its_thread<F>(operate: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let (operate, stop) = (operate.clone(), stop.clone());
            tokio::spawn(async move {
                // Without the budget, the first loop ends here, before the other task has a turn.
                for done in 0..10_000 {
                    operate().await;
                    if stop.load(Ordering::Relaxed) {
                        return done;
                    }
                }
                10_000
            })
        })
        .collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::Relaxed);
    for done in loops {
        assert!(done.await.unwrap() < 10_000, "the loop left the other task no turn");
    }
}

#[tokio::test]
async fn calls_that_fail_at_once() {
    let client = Client::connect(&Memory::new(), "nobody", MessagePack).await.unwrap();
    let unserved = client.clone();
    shares_its_thread(move || {
        let client = unserved.clone();
        async move { assert!(client.call::<()>("m", &()).await.is_err()) }
    })
    .await;
    let oneway = client.clone();
    shares_its_thread(move || {
        let client = oneway.clone();
        async move { assert!(client.request("m").send(&()).await.is_err()) }
    })
    .await;
    shares_its_thread(move || {
        let client = client.clone();
        async move { assert!(client.call::<()>("no address!", &()).await.is_err()) }
    })
    .await;
}

fn request(is_oneway: bool) -> Request {
    let method = Address::new("m").unwrap();
    let mut request = Request::new(Message::request(method, Deadline::after_ms(30_000)));
    request.oneway = is_oneway;
    request
}

/// A requester is a service without a client, too: behind layers of a program, or of tower.
#[tokio::test]
async fn calls_of_a_requester_without_a_client() {
    let (memory, service) = (Memory::new(), Address::new("nobody").unwrap());
    let unserved = Requester::open(&memory, service.clone(), 8).await.unwrap();
    for is_oneway in [false, true] {
        let unserved = unserved.clone();
        shares_its_thread(move || {
            let requester = unserved.clone();
            async move { assert!(requester.call(request(is_oneway)).await.is_err()) }
        })
        .await;
    }
    let (transport, _script) = Scripted::new(sent);
    let sending = Requester::open(&transport, service, 8).await.unwrap();
    shares_its_thread(move || {
        let requester = sending.clone();
        async move { assert!(requester.call(request(true)).await.is_ok()) }
    })
    .await;
}

#[tokio::test]
async fn calls_that_a_layer_refuses_or_a_router_in_the_process_answers() {
    let broken = service_fn(|_| async {
        Err(polywire_core::Error::new(polywire_core::ErrorKind::Disconnected, "lost").into())
    });
    let refused = Arc::new(Client::new(broken, MessagePack).layer(&CircuitBreaker::new()));
    shares_its_thread(move || {
        let client = refused.clone();
        async move { assert!(client.call::<()>("m", &()).await.is_err()) }
    })
    .await;
    let router = Router::new(MessagePack).method("m", async |(): ()| Ok(()));
    let local = Arc::new(Client::new(router, MessagePack));
    shares_its_thread(move || {
        let client = local.clone();
        async move { client.call::<()>("m", &()).await.unwrap() }
    })
    .await;
}

#[tokio::test]
async fn pushes_and_events_that_end_at_once() {
    let transport = Memory::new();
    let publisher = Publisher::connect(&transport, "news", MessagePack).await.unwrap();
    shares_its_thread(move || {
        let publisher = publisher.clone();
        async move { publisher.publish("a", &1).await.unwrap() }
    })
    .await;
    let subscriber: Subscriber<u32> =
        Subscriber::bind(&transport, "other", MessagePack).await.unwrap();
    let filters = subscriber.filters();
    shares_its_thread(move || {
        let filters = filters.clone();
        async move { filters.add("a.b").await.unwrap() }
    })
    .await;
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    transport.close().await.unwrap();
    shares_its_thread(move || {
        let pusher = pusher.clone();
        async move { assert!(pusher.push(&1).await.is_err()) }
    })
    .await;
}

#[tokio::test]
async fn names_that_are_refused() {
    let transport = Memory::new();
    let any = Client::any(&transport, MessagePack);
    shares_its_thread(move || {
        let any = any.clone();
        async move { assert!(any.call::<()>("no address!", "m", &()).await.is_err()) }
    })
    .await;
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    shares_its_thread(move || {
        let pusher = pusher.clone();
        async move { assert!(pusher.push_call("no address!", &1).await.is_err()) }
    })
    .await;
    let publisher = Publisher::connect(&transport, "news", MessagePack).await.unwrap();
    shares_its_thread(move || {
        let publisher = publisher.clone();
        async move { assert!(publisher.publish("no address!", &1).await.is_err()) }
    })
    .await;
}

#[tokio::test]
async fn queue_that_is_never_empty() {
    let transport = Memory::new();
    let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
    for n in 0..1_000_u32 {
        pusher.push(&n).await.unwrap();
    }
    let jobs: Puller<u32> =
        Puller::bind(&transport, "jobs", MessagePack).window(Window::new(2_000)).await.unwrap();
    let pulling = tokio::spawn(async move {
        let mut jobs = jobs;
        for _ in 0..1_000 {
            jobs.next().await.unwrap().unwrap().ack();
        }
    });
    tokio::task::yield_now().await;
    assert!(!pulling.is_finished(), "the puller left the other task no turn");
    pulling.await.unwrap();
}

#[tokio::test]
async fn openings_that_fail_at_once() {
    let transport = Memory::new();
    transport.close().await.unwrap();
    macro_rules! fails_at_once {
        ($($open:expr),* $(,)?) => {$({
            let transport = transport.clone();
            shares_its_thread(move || {
                let transport = transport.clone();
                async move {
                    let open = $open;
                    assert!(open(&transport).await.is_err(), "{}", stringify!($open));
                }
            })
            .await;
        })*};
    }
    fails_at_once!(
        async |memory: &Memory| Client::connect(memory, "a", MessagePack).await.map(drop),
        async |memory: &Memory| Server::bind(memory, "a").await.map(drop),
        async |memory: &Memory| Pusher::connect(memory, "a", MessagePack).await.map(drop),
        async |memory: &Memory| Puller::<u32>::bind(memory, "a", MessagePack).await.map(drop),
        async |memory: &Memory| Worker::bind(memory, "a", MessagePack).await.map(drop),
        async |memory: &Memory| Publisher::connect(memory, "a", MessagePack).await.map(drop),
        async |memory: &Memory| {
            Subscriber::<u32>::bind(memory, "a", MessagePack).await.map(drop)
        },
    );
}
