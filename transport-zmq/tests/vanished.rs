//! Which server gets a call, and what becomes of the call when that one is gone or nobody waits any
//! more.

#![cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

#[path = "support/who.rs"]
mod who;

use std::future::pending;
#[cfg(feature = "engine-omq")]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, ErrorKind, InFlight, Router, Server, Transport, Window};
use polywire_zmq::{Engine, Side, Zmq, ZmqBuilder};
use tokio::time::timeout;

use self::who::Who;

const PATIENCE: Duration = Duration::from_secs(60);

/// An engine, which side a caller takes, and by what they are connected.
#[derive(Clone, Copy, Debug)]
struct Way(Engine, Side, By);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Tcp,
    Ipc,
}

fn ways() -> Vec<Way> {
    let all = [
        #[cfg(feature = "engine-omq")]
        (Engine::Omq, Side::Connect),
        #[cfg(feature = "engine-omq")]
        (Engine::Omq, Side::Bind),
        #[cfg(feature = "engine-zeromq")]
        (Engine::Zeromq, Side::Connect),
    ];
    let carriers = if cfg!(unix) { vec![By::Tcp, By::Ipc] } else { vec![By::Tcp] };
    all.into_iter()
        .flat_map(|(engine, side)| carriers.iter().map(move |by| Way(engine, side, *by)))
        .collect()
}

fn builder(Way(engine, ..): Way) -> ZmqBuilder {
    Zmq::builder().engine(engine).connect_timeout(PATIENCE)
}

/// An endpoint that nobody else binds.
fn endpoint(Way(.., by): Way) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name =
        format!("polywire-{}-{}.sock", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    match by {
        By::Tcp => "tcp://127.0.0.1:*".to_owned(),
        By::Ipc => format!("ipc://{}", std::env::temp_dir().join(name).display()),
    }
}

/// A server of the methods `who` and `hang`, and its transport.
struct Served {
    transport: Zmq,
    who: Who,
}

impl Served {
    async fn at(transport: Zmq, name: u32, window: usize) -> Self {
        let hang = |(): ()| async move { Ok(pending::<u32>().await) };
        let router = Router::new(MessagePack).method("hang", hang);
        let who = Who::serve(&transport, name, Window::new(window), router).await;
        Self { transport, who }
    }

    fn running(&self) -> u64 {
        self.who.running()
    }
}

/// So many servers, and a client of all.
async fn stage(way: Way, servers: u32, window: usize) -> (Vec<Served>, Client<MessagePack>, Zmq) {
    let mut served = Vec::new();
    let calling = match way.1 {
        Side::Connect => {
            let mut calling = builder(way);
            for name in 0..servers {
                let transport = builder(way).bind(endpoint(way)).build().unwrap();
                served.push(Served::at(transport.clone(), name, window).await);
                calling = calling.connect(&transport.local_endpoints()[0]);
            }
            calling.build().unwrap()
        }
        Side::Bind => builder(way).bind(endpoint(way)).build().unwrap(),
    };
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE * 2).await.unwrap();
    if let Side::Bind = way.1 {
        let endpoint = &calling.local_endpoints()[0];
        for name in 0..servers {
            served.push(
                Served::at(builder(way).connect(endpoint).build().unwrap(), name, window).await,
            );
        }
    }
    // Until all are there.
    let mut seen = Vec::new();
    let all = async {
        while seen.len() < servers as usize {
            let name = who(&client).await;
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
    };
    timeout(PATIENCE, all).await.expect("each server answers");
    (served, client, calling)
}

async fn who(client: &Client<MessagePack>) -> u32 {
    timeout(PATIENCE, client.call("who", &())).await.expect("the call ends").unwrap()
}

fn start(client: &Client<MessagePack>, method: &'static str, idempotent: bool) -> InFlight<u32> {
    let request = client.request(method);
    let request = if idempotent { request.idempotent() } else { request };
    request.start(&()).unwrap()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let polling = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("{what}"));
}

fn kind(outcome: Result<u32, CallError>) -> ErrorKind {
    match outcome {
        Err(CallError::Failed(error)) => error.kind(),
        other => panic!("it ended with {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_server_with_the_fewest() {
    for way in ways() {
        let (served, client, _calling) = stage(way, 3, 128).await;
        // One of them is busy, and then a second one.
        for busy in 1..3_u64 {
            let mut held = Vec::new();
            for _ in 0..busy {
                let mut call = start(&client, "hang", false);
                // Two that are sent in one moment do not see each other.
                call.sent().await;
                held.push(call);
            }
            until("they are carried out", || {
                served.iter().map(Served::running).sum::<u64>() == busy
            })
            .await;
            let is_idle: Vec<_> = served.iter().map(|server| server.running() == 0).collect();
            assert_eq!(
                is_idle.iter().filter(|idle| **idle).count() as u64,
                3 - busy,
                "{way:?}: each has one"
            );
            for _ in 0..20 {
                let name = who(&client).await;
                assert!(is_idle[name as usize], "{way:?}: {name} is busy, of {is_idle:?} idle");
            }
            drop(held);
            until("they are stopped", || served.iter().all(|server| server.running() == 0)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_as_few_calls_take_turns() {
    for way in ways() {
        let (_served, client, _calling) = stage(way, 3, 128).await;
        let mut counts = [0; 3];
        for _ in 0..60 {
            counts[who(&client).await as usize] += 1;
        }
        assert_eq!(counts, [20; 3], "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_server_that_is_gone_idempotent_calls_go_to_another_and_the_others_fail_at_once() {
    for way in ways() {
        let (served, client, _calling) = stage(way, 2, 128).await;
        served.iter().for_each(|server| server.who.hang(true));
        let calls: Vec<_> = (0..20).map(|number| start(&client, "who", number % 2 == 0)).collect();
        until("all are carried out", || served.iter().map(Served::running).sum::<u64>() == 20)
            .await;
        let at_stake = served[0].running() as usize;
        assert!((1..20).contains(&at_stake), "{way:?}: {at_stake} of 20 are at one server");
        // Of what comes to the other one now, nothing hangs.
        served[1].who.hang(false);
        served[0].transport.close().await.unwrap();

        let (mut failed, mut answered, mut open) = (0, 0, Vec::new());
        for (number, call) in calls.into_iter().enumerate() {
            open.push((number, Box::pin(call)));
        }
        let ends = async {
            while failed + answered < at_stake {
                for at in (0..open.len()).rev() {
                    let (number, call) = &mut open[at];
                    if !call.is_finished() {
                        continue;
                    }
                    match (*number % 2, call.await) {
                        (0, outcome) => {
                            assert_eq!(outcome.unwrap(), 1, "{way:?}");
                            answered += 1;
                        }
                        (_, outcome) => {
                            assert_eq!(kind(outcome), ErrorKind::Disconnected, "{way:?}");
                            failed += 1;
                        }
                    }
                    drop(open.swap_remove(at));
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // The deadline of the calls is later.
        timeout(PATIENCE, ends).await.expect("the calls of the one that is gone end");
        assert_eq!(open.len(), 20 - at_stake, "{way:?}: the others are at the other server");
        assert!(open.iter().all(|(_, call)| !call.is_finished()), "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_call_waits_for_a_server_to_come() {
    for way in ways() {
        let (mut served, client, calling) = stage(way, 1, 128).await;
        served[0].who.hang(true);
        let endpoint = match way.1 {
            Side::Connect => served[0].transport.local_endpoints()[0].clone(),
            Side::Bind => calling.local_endpoints()[0].clone(),
        };
        let [call, dropped] = [(); 2].map(|()| start(&client, "who", true));
        until("both are carried out", || served[0].running() == 2).await;
        served.remove(0).transport.close().await.unwrap();
        // One that nobody waits for any more is not sent again.
        drop(dropped);
        let heir = async {
            loop {
                let heir = match way.1 {
                    Side::Connect => builder(way).bind(&endpoint),
                    Side::Bind => builder(way).connect(&endpoint),
                };
                let transport = heir.build().unwrap();
                if let Ok(server) = Server::bind(&transport, "a").await {
                    break (transport, server);
                }
                tokio::task::yield_now().await;
            }
        };
        let (_heir, server) = timeout(PATIENCE, heir).await.expect("the endpoint is free again");
        let handle = server.handle();
        tokio::spawn(
            server.serve(Router::new(MessagePack).method("who", |(): ()| async move { Ok(7) })),
        );
        assert_eq!(timeout(PATIENCE, call).await.expect("it is answered").unwrap(), 7, "{way:?}");
        assert_eq!(handle.stats().answered, 1, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_call_stops_and_no_other_one_while_the_window_is_full() {
    for way in ways() {
        let (served, client, _calling) = stage(way, 1, 2).await;
        let server = &served[0];
        let (kept, abandoned) = (start(&client, "hang", false), start(&client, "hang", false));
        until("the window is full", || server.running() == 2).await;
        // These wait before the window, and one of them stops waiting, too.
        let mut waiting: Vec<_> = (0..10).map(|_| start(&client, "who", false)).collect();
        for call in &mut waiting {
            timeout(PATIENCE, call.sent()).await.unwrap();
        }
        drop(waiting.pop());
        drop(abandoned);
        for call in waiting {
            assert_eq!(
                timeout(PATIENCE, call).await.expect("there is room").unwrap(),
                0,
                "{way:?}"
            );
        }
        until("it counts", || server.who.handle.stats().cancelled == 1).await;
        assert!(!kept.is_finished(), "{way:?}");
        assert_eq!(server.running(), 1, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_lost_and_then_refused_may_have_been_carried_out() {
    for way in ways() {
        let (served, client, calling) = stage(way, 1, 128).await;
        let call = start(&client, "hang", true);
        until("it is carried out", || served[0].running() == 1).await;
        // The only other one that comes serves something else.
        let endpoint = match way.1 {
            Side::Connect => served[0].transport.local_endpoints()[0].clone(),
            Side::Bind => calling.local_endpoints()[0].clone(),
        };
        served[0].transport.close().await.unwrap();
        let other = async {
            loop {
                let other = match way.1 {
                    Side::Connect => builder(way).bind(&endpoint),
                    Side::Bind => builder(way).connect(&endpoint),
                };
                let transport = other.build().unwrap();
                if let Ok(server) = Server::bind(&transport, "b").await {
                    break (transport, server);
                }
                tokio::task::yield_now().await;
            }
        };
        let (_other, server) = timeout(PATIENCE, other).await.expect("the endpoint is free again");
        tokio::spawn(server.serve(Router::new(MessagePack)));
        match timeout(PATIENCE, call).await.expect("it is refused") {
            Err(CallError::Failed(error)) => {
                assert_eq!(
                    (error.kind(), error.is_unsent()),
                    (ErrorKind::Unroutable, false),
                    "{way:?}"
                );
            }
            other => panic!("it ended with {other:?}"),
        }
    }
}

/// A stranger who knows the numbers of others' calls stops none of them.
#[cfg(feature = "engine-omq")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_stops_no_call_of_others() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let (served, client, _calling) = stage(Way(Engine::Omq, Side::Connect, By::Tcp), 1, 2).await;
    let [one, other] = [(); 2].map(|()| start(&client, "hang", false));
    until("they are carried out", || served[0].running() == 2).await;
    let stranger = Socket::try_new(SocketType::Dealer, Options::default()).unwrap();
    stranger.connect(served[0].transport.local_endpoints()[0].as_str()).await.unwrap();
    for call in 0..100 {
        // A cancel of this call of service "a".
        let cancel = [&b"P\x01\x06\x01\0\0\0\0\0\0\0"[..], &[call], b"\0\0\0\0\x01\x01a"].concat();
        stranger.send(Message::from(cancel)).await.unwrap();
    }
    // What comes after them, they were read before. It finds no room, and is told to be no request,
    // which needs none.
    stranger
        .send(Message::from(b"P\x01\x01\x01\0\0\0\0\0\0\0\x09\0\0\0\0".to_vec()))
        .await
        .unwrap();
    timeout(PATIENCE, stranger.recv()).await.expect("it is answered").unwrap();
    assert!(!one.is_finished() && !other.is_finished());
    assert_eq!((served[0].running(), served[0].who.handle.stats().cancelled), (2, 0));
}

/// What was handed over goes out, if there is time to linger and somebody to take it.
#[cfg(feature = "engine-omq")]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_before_an_end_closes_arrives() {
    const CALLS: u64 = 500;
    for by in [By::Tcp, By::Ipc] {
        let way = Way(Engine::Omq, Side::Connect, by);
        let serving = builder(way).bind(endpoint(way)).linger(PATIENCE).build().unwrap();
        let server = Server::bind(&serving, "a").window(Window::new(CALLS as usize)).await.unwrap();
        let (handle, told) = (server.handle(), Arc::new(AtomicUsize::new(0)));
        let count = told.clone();
        let router = Router::new(MessagePack)
            .method("tell", move |(): ()| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            })
            .method("big", |number: u64| async move { Ok((number, "x".repeat(50_000))) });
        tokio::spawn(server.serve(router));
        let dial = || {
            builder(way).connect(&serving.local_endpoints()[0]).linger(PATIENCE).build().unwrap()
        };

        let telling = dial();
        let client = Client::connect(&telling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        for _ in 0..CALLS {
            timeout(PATIENCE, client.request("tell").send(&())).await.unwrap().unwrap();
        }
        telling.close().await.unwrap();
        until("what a caller told arrives after it has closed", || {
            told.load(Ordering::Relaxed) == CALLS as usize
        })
        .await;

        let calling = dial();
        let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        let start = |number| client.request("big").start::<(u64, String)>(&number).unwrap();
        let calls: Vec<_> = (0..CALLS).map(start).collect();
        // Those without a reply count as answered as well.
        until("all replies are handed over", || {
            handle.stats().running == 0 && { handle.stats().answered >= CALLS }
        })
        .await;
        serving.close().await.unwrap();
        for (number, call) in (0..).zip(calls) {
            let (answer, _) = timeout(PATIENCE, call).await.expect("it is answered").unwrap();
            assert_eq!(answer, number);
        }
    }
}

/// A caller that sends and does not read takes up the window for a while, and not for ever.
#[cfg(feature = "engine-omq")]
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_holds_up_no_other_for_long() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let way = Way(Engine::Omq, Side::Connect, By::Tcp);
    let serving = builder(way).bind(endpoint(way)).build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(8)).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("m", |(): ()| async { Ok("x".repeat(50_000)) });
    tokio::spawn(server.serve(router));
    let mute = Socket::try_new(SocketType::Dealer, Options::default().recv_hwm(1)).unwrap();
    mute.connect(serving.local_endpoints()[0].as_str()).await.unwrap();
    // More than lies in the queues and in the connection. Its body is nothing in MessagePack.
    let request =
        [&b"P\x01\x01\x03\0\0\0\0\0\0\0\x07\0\xff\xff\xff"[..], b"\x01\x01a\x02\x01m\x81\x01\xc0"]
            .concat();
    for _ in 0..4000 {
        timeout(PATIENCE, mute.send(Message::from(request.clone()))).await.unwrap().unwrap();
    }
    let calling = builder(way).connect(&serving.local_endpoints()[0]).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE * 2).await.unwrap();
    for _ in 0..20 {
        let call = client.call::<String>("m", &());
        assert_eq!(
            timeout(PATIENCE * 2, call).await.expect("it is answered").unwrap().len(),
            50_000
        );
    }
    until("all others come to an end, too", || {
        let stats = handle.stats();
        stats.answered + stats.undelivered >= 4020
    })
    .await;
    assert!(handle.stats().undelivered > 0, "what it does not read is counted");
    drop(mute);
}
