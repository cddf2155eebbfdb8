//! Suspects: deliveries that may have ended their last receiver, and what core does with them.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{Delivery, Outcome, Receipt, Suspect};
use polywire_core::{Address, Code, Context, Message, Router, Server, Worker};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use crate::scripted::{Script, Scripted, SettleLog, sent};

/// A worker whose jobs are numbers of milliseconds, and the log of their begins and ends.
struct Working {
    script: Script,
    seen: UnboundedReceiver<(&'static str, u16, Duration)>,
}

impl Working {
    async fn start() -> Self {
        let (transport, script) = Scripted::new(sent);
        let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
        let (sender, seen) = unbounded_channel();
        let start = Instant::now();
        let note = move |sender: &UnboundedSender<_>, what, ms| {
            sender.send((what, ms, start.elapsed())).unwrap();
        };
        tokio::spawn(worker.work(move |ms: u16| {
            let sender = sender.clone();
            async move {
                note(&sender, "begins", ms);
                sleep(Duration::from_millis(ms.into())).await;
                note(&sender, "ends", ms);
                Ok(())
            }
        }));
        Self { script, seen }
    }

    /// Delivers a job that takes so long.
    fn deliver(&self, ms: u16, suspect: Option<Suspect>) {
        let body = encoded(ms);
        let delivery = Delivery::new(body, Receipt::new(Arc::new(SettleLog::default()), 1));
        self.script.deliver(match suspect {
            Some(suspect) => delivery.suspect(suspect),
            None => delivery,
        });
    }

    /// Asserts the next begins and ends, with their times in milliseconds.
    async fn assert_seen(&mut self, expected: &[(&str, u16, u64)]) {
        for (what, ms, at) in expected {
            let seen = self.seen.recv().await.unwrap();
            assert_eq!(seen, (*what, *ms, Duration::from_millis(*at)));
        }
    }
}

/// Encodes a number of at least 256 in MessagePack.
fn encoded(ms: u16) -> Message {
    let [high, low] = ms.to_be_bytes();
    Message::new(vec![0xcd, high, low])
}

#[tokio::test(start_paused = true)]
async fn suspect_without_crashes_runs_beside_others() {
    let mut working = Working::start().await;
    working.deliver(500, None);
    working.deliver(400, Some(Suspect::isolated(0)));
    working.deliver(300, None);
    working.assert_seen(&[("begins", 500, 0), ("begins", 400, 0), ("begins", 300, 0)]).await;
}

#[tokio::test(start_paused = true)]
async fn suspect_with_crashes_runs_alone() {
    let mut working = Working::start().await;
    working.deliver(500, None);
    working.deliver(400, Some(Suspect::isolated(1)));
    working.deliver(300, None);
    let expected = [
        ("begins", 500, 0),
        ("ends", 500, 500),
        ("begins", 400, 500),
        ("ends", 400, 900),
        ("begins", 300, 900),
    ];
    working.assert_seen(&expected).await;
}

/// The handler that ends the process of a slow suspect must be its own.
#[tokio::test(start_paused = true)]
async fn slow_suspect_with_crashes_runs_alone() {
    let mut working = Working::start().await;
    working.deliver(20_000, None);
    working.deliver(25_000, Some(Suspect::isolated(1)));
    working.deliver(300, None);
    let expected = [
        ("begins", 20_000, 0),
        ("ends", 20_000, 20_000),
        ("begins", 25_000, 20_000),
        ("ends", 25_000, 45_000),
        ("begins", 300, 45_000),
    ];
    working.assert_seen(&expected).await;
}

#[tokio::test(start_paused = true)]
async fn suspect_waits_for_others_and_they_for_it_no_longer_than_half_a_minute() {
    let mut working = Working::start().await;
    working.deliver(65_000, None);
    working.deliver(50_000, Some(Suspect::isolated(1)));
    working.deliver(300, None);
    let expected = [("begins", 65_000, 0), ("begins", 50_000, 30_000), ("begins", 300, 60_000)];
    working.assert_seen(&expected).await;
}

#[tokio::test]
async fn suspect_that_is_not_isolated_is_requeued() {
    let (transport, script) = Scripted::new(sent);
    let log = Arc::new(SettleLog::default());
    let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
    for (tag, suspect) in [(1, Suspect::redelivered()), (2, Suspect::isolated(0))] {
        let receipt = Receipt::new(log.clone(), tag);
        script.deliver(Delivery::new(encoded(300), receipt).suspect(suspect));
    }
    drop(script);
    let handle = async |context: Context, _: u16| {
        assert!(context.is_redelivered());
        Ok(())
    };
    worker.work(handle).await.unwrap();
    assert_eq!(*log.0.lock().unwrap(), [(1, Outcome::Requeue), (2, Outcome::Ack)]);
}

#[tokio::test]
async fn redelivered_request_is_refused_before_it_is_isolated() {
    for (is_at_most_once, outcome) in [(true, Outcome::Ack), (false, Outcome::Requeue)] {
        let (transport, script) = Scripted::new(sent);
        let log = Arc::new(SettleLog::default());
        let server = Server::bind(&transport, "shop");
        let server = if is_at_most_once { server.at_most_once() } else { server };
        let server = server.await.unwrap();
        let receipt = Receipt::new(log.clone(), 1);
        let request = Delivery::new(Message::new("request"), receipt);
        script.deliver(request.suspect(Suspect::redelivered()));
        drop(script);
        server.serve(Router::new(MessagePack)).await.unwrap();
        assert_eq!(*log.0.lock().unwrap(), [(1, outcome)]);
    }
}

/// The caller waits for the answer, which an isolated delivery would delay.
#[tokio::test]
async fn redelivered_call_that_runs_at_most_once_is_answered_and_not_isolated() {
    let (transport, mut script) = Scripted::new(sent);
    let log = Arc::new(SettleLog::default());
    let server = Server::bind(&transport, "shop").at_most_once().await.unwrap();
    let request = Message::new("request").with_id(CallId(1)).with_reply_to(ReplyTo::new("caller"));
    let request = Delivery::new(request, Receipt::new(log.clone(), 1));
    script.deliver(request.suspect(Suspect::redelivered()));
    drop(script.incoming);
    server.serve(Router::new(MessagePack)).await.unwrap();
    let reply = script.sent.try_recv().unwrap();
    assert_eq!(reply.fault.unwrap().code, Code::Interrupted);
    assert_eq!(*log.0.lock().unwrap(), [(1, Outcome::Ack)]);
}

#[tokio::test]
async fn isolated_request_is_begun_five_times_by_default() {
    let (transport, script) = Scripted::new(sent);
    let log = Arc::new(SettleLog::default());
    let server = Server::bind(&transport, "shop").await.unwrap();
    for (tag, crashes) in [(1, 3), (2, 4)] {
        let request = Delivery::new(Message::new("request"), Receipt::new(log.clone(), tag));
        script.deliver(request.suspect(Suspect::isolated(crashes)));
    }
    drop(script);
    server.serve(Router::new(MessagePack)).await.unwrap();
    let settled = log.0.lock().unwrap().clone();
    let [(1, Outcome::Ack), (2, Outcome::DeadLetter(_))] = &settled[..] else {
        panic!("{settled:?}");
    };
}

/// A handler that calls its own server would wait for itself.
#[tokio::test(start_paused = true)]
async fn suspected_call_waits_for_others_and_they_for_it_no_longer_than_a_second() {
    let (transport, script) = Scripted::new(sent);
    let server = Server::bind(&transport, "shop").await.unwrap();
    let (sender, mut seen) = unbounded_channel();
    let start = Instant::now();
    let router = Router::new(MessagePack).method("wait", move |n: u16| {
        sender.send((n, start.elapsed().as_millis())).unwrap();
        async move {
            sleep(Duration::from_secs(10)).await;
            Ok(n)
        }
    });
    tokio::spawn(server.serve(router));
    for (n, suspect) in [(300, None), (400, Some(Suspect::isolated(1))), (500, None)] {
        let request = encoded(n).with_method(Address::new("wait").unwrap());
        let request = request.with_id(CallId(n.into())).with_reply_to(ReplyTo::new("caller"));
        let delivery = Delivery::new(request, Receipt::new(Arc::new(SettleLog::default()), 1));
        script.deliver(match suspect {
            Some(suspect) => delivery.suspect(suspect),
            None => delivery,
        });
    }
    for expected in [(300, 0), (400, 1_000), (500, 2_000)] {
        assert_eq!(seen.recv().await, Some(expected));
    }
}
