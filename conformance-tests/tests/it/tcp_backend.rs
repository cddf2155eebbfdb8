//! The TCP example beyond the suite: its wire, a broker that dies or freezes, and clients that
//! speak another protocol.

#[path = "../../examples/tcp/broker.rs"]
mod broker;
#[path = "../../examples/tcp/link.rs"]
mod link;
#[path = "../../examples/tcp/transport.rs"]
mod transport;
#[path = "../../examples/tcp/wire.rs"]
mod wire;

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::{CallId, MessageId, ReplyTo};
use polywire_core::transport::{Delivery, Receipt, Receiver, Sender, Subscription};
use polywire_core::{
    Address, Body, Client, Code, Deadline, ErrorKind, Fault, Filter, Group, Message, Router,
    Server, Transport, Window,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::broker::Broker;
use self::transport::Tcp;
use self::wire::{Frame, Kind};

#[tokio::test(start_paused = true)]
async fn every_field_crosses() {
    let mut sent =
        Message::request(address("größe.prüfen"), Deadline::after(Duration::from_secs(9)));
    sent.topic = Some(address("a.b"));
    sent.id = Some(CallId(u64::MAX));
    sent.message_id = Some(MessageId::unique());
    sent.reply_to = Some(ReplyTo::new(&b"\x00\xff"[..]));
    sent.fault = Some(Box::new(
        Fault::new(Code::Unavailable, "später")
            .permanent()
            .with_kind("K")
            .with_details(&b"\xff"[..]),
    ));
    sent.content_type = Some("text/plain".into());
    sent.headers.insert("目", "\u{1}\"");
    sent.body = Body::from_frames(["ab".into(), "".into(), "c".into()]);
    let (mut to, mut from) = tokio::io::duplex(1 << 16);
    let frame = Frame { kind: Kind::Send, message: Some(sent.clone()) };
    wire::write(&mut to, &frame).await.unwrap();
    let Frame { kind: Kind::Send, message: Some(came) } = wire::read(&mut from).await.unwrap()
    else {
        panic!("another frame came")
    };
    let left = came.deadline.unwrap().remaining_ms();
    assert_eq!(left, 9_000, "ms are left");
    assert_eq!(came.body, sent.body);
    let (mut sent, mut came) = (sent, came);
    (sent.deadline, came.deadline) = (None, None);
    assert_eq!(format!("{came:?}"), format!("{sent:?}"));
}

#[tokio::test]
async fn jobs_wait_are_shared_and_are_redelivered() {
    let broker = Broker::start().await.unwrap();
    let (pushing, pulling) = (Tcp::new(broker.address), Tcp::new(broker.address));
    let pusher = pushing.pusher(&address("jobs")).await.unwrap();
    for n in 0..3 {
        push(&pusher, n).await;
    }
    let mut first = pulling.puller(&address("jobs"), Window::new(2)).await.unwrap();
    let (job, other) = (next(&mut first).await, next(&mut first).await);
    assert_eq!((text(&job), job.attempt, text(&other)), ("0".to_owned(), 1, "1".to_owned()));
    let another = Tcp::new(broker.address);
    let mut second = another.puller(&address("jobs"), Window::new(9)).await.unwrap();
    let third = next(&mut second).await;
    assert_eq!(text(&third), "2");
    third.receipt.ack();
    job.receipt.ack();
    drop(other);
    drop(first);
    let again = next(&mut second).await;
    assert_eq!((text(&again), again.attempt > 1), ("1".to_owned(), true));
}

#[tokio::test]
async fn closing_requeues_held_jobs_and_keeps_settled_ones() {
    let broker = Broker::start().await.unwrap();
    let (dying, living) = (Tcp::new(broker.address), Tcp::new(broker.address));
    let pusher = living.pusher(&address("jobs")).await.unwrap();
    for n in 0..9 {
        push(&pusher, n).await;
    }
    let mut jobs = dying.puller(&address("jobs"), Window::new(9)).await.unwrap();
    let mut done = Vec::new();
    for _ in 0..8 {
        done.push(next(&mut jobs).await.receipt);
    }
    let _held = next(&mut jobs).await;
    // No outcome is written yet when the closing begins.
    done.into_iter().for_each(Receipt::ack);
    dying.close().await.unwrap();
    assert!(jobs.next().await.is_none());
    let mut successor = living.puller(&address("jobs"), Window::new(9)).await.unwrap();
    let left = next(&mut successor).await;
    assert_eq!((text(&left), left.attempt), ("8".to_owned(), 2));
    push(&pusher, 9).await;
    assert_eq!(text(&next(&mut successor).await), "9");
}

#[tokio::test]
async fn events_go_to_matching_subscribers_and_to_one_of_a_group() {
    let broker = Broker::start().await.unwrap();
    let tcp = Tcp::new(broker.address);
    let to = |filter: &str| Subscription::new([Filter::new(filter.to_owned()).unwrap()]);
    let (mut own, filters) = tcp.subscriber(&address("news"), to("a.*")).await.unwrap();
    let group = || to("#").group(Group::new("g").unwrap());
    let (mut one, _) = tcp.subscriber(&address("news"), group()).await.unwrap();
    let (mut two, _) = tcp.subscriber(&address("news"), group()).await.unwrap();
    let publisher = tcp.publisher(&address("news")).await.unwrap();
    publish(&publisher, "a.b").await;
    publish(&publisher, "c").await;
    filters.add("c").await.unwrap();
    filters.remove("a.*").await.unwrap();
    publish(&publisher, "a.c").await;
    publish(&publisher, "c").await;
    assert_eq!((topic(&mut own).await, topic(&mut own).await), ("a.b".to_owned(), "c".to_owned()));
    let mut shared = Vec::new();
    for _ in 0..4 {
        let delivery = tokio::select! {
            delivery = next(&mut one) => delivery,
            delivery = next(&mut two) => delivery,
        };
        shared.push(delivery.message.topic.unwrap().to_string());
        delivery.receipt.ack();
    }
    shared.sort();
    assert_eq!(shared, ["a.b", "a.c", "c", "c"]);
}

#[tokio::test]
async fn endpoint_handles_outlive_their_broker() {
    let broker = Broker::start().await.unwrap();
    let (serving, calling) = (Tcp::new(broker.address), Tcp::new(broker.address));
    let server = Server::bind(&serving, "calc").await.unwrap();
    let router = Router::new(MessagePack)
        .method("double", |n: i64| async move { Ok(n * 2) })
        .method("hang", |(): ()| std::future::pending::<Result<(), Fault>>());
    tokio::spawn(server.serve(router));
    let client = Client::connect(&calling, "calc", MessagePack).await.unwrap();
    let (mut events, filters) =
        calling.subscriber(&address("news"), Subscription::new([])).await.unwrap();
    filters.add("#").await.unwrap();
    let mut hanging = client.request("hang").start::<()>(&()).unwrap();
    hanging.sent().await;

    let address_of_broker = broker.address;
    drop(broker);
    let lost = hanging.await.unwrap_err();
    assert_eq!(lost.kind(), Some(ErrorKind::Disconnected), "{lost:?}");
    let _broker = successor(address_of_broker).await;

    // Calls are unroutable until the server has reconnected as well.
    let doubled = async {
        loop {
            match client.call::<i64>("double", &2).await {
                Ok(doubled) => return doubled,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, doubled).await.unwrap(), 4);
    let publisher = calling.publisher(&address("news")).await.unwrap();
    let received = async {
        loop {
            publish(&publisher, "x").await;
            if let Ok(topic) =
                tokio::time::timeout(Duration::from_millis(50), topic(&mut events)).await
            {
                return topic;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, received).await.unwrap(), "x");
}

#[tokio::test]
async fn frozen_broker_does_not_delay_closing() {
    let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = Tcp::new(frozen.local_addr().unwrap());
    let opening = async { tcp.pusher(&address("jobs")).await };
    let answering = async {
        let (mut stream, _) = frozen.accept().await.unwrap();
        wire::read(&mut stream).await.unwrap();
        wire::write(&mut stream, &Kind::Done(Ok(())).into()).await.unwrap();
        stream
    };
    let (pusher, _silent) = tokio::join!(opening, answering);
    let pusher = pusher.unwrap();
    let closing = async {
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_secs(5), tcp.close()).await.unwrap().unwrap();
    };
    let (sent, ()) = tokio::join!(pusher.send(Message::new("x")), closing);
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Closed);
    let silent = Tcp::new(frozen.local_addr().unwrap());
    let error = silent.pusher(&address("jobs")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.detail("broker").is_some());
}

#[tokio::test]
async fn garbage_ends_its_connection() {
    let broker = Broker::start().await.unwrap();
    let frame = |head: serde_json::Value| {
        let head = head.to_string();
        [&(head.len() as u64).to_be_bytes()[..], head.as_bytes()].concat()
    };
    let open = |name: &str| {
        frame(json!([{ "Open": { "role": "Pusher", "name": name, "window": 1, "filters": [],
            "group": null, "stopped": false } }, null]))
    };
    let sends =
        |envelope: serde_json::Value| [open("jobs"), frame(json!(["Send", envelope]))].concat();
    let (misnamed, not_open) = (open("a b"), frame(json!(["Stop", null])));
    let malformed = sends(json!({ "method": "a b" }));
    let endless = sends(json!({ "frames": [u64::MAX, 1] }));
    let without_message = sends(json!(null));
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0; 64],
        &misnamed,
        &not_open,
        &malformed,
        &endless,
        &without_message,
    ] {
        let mut client = TcpStream::connect(broker.address).await.unwrap();
        client.write_all(garbage).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{garbage:?} keeps a connection");
    }
    // The frames above are refused for what is wrong in them alone.
    let mut client = TcpStream::connect(broker.address).await.unwrap();
    client.write_all(&sends(json!({}))).await.unwrap();
    for _ in 0..2 {
        let answer = tokio::time::timeout(PATIENCE, wire::read(&mut client)).await.unwrap();
        assert!(matches!(answer.unwrap().kind, Kind::Done(Ok(()))));
    }
    let tcp = Tcp::new(broker.address);
    push(&tcp.pusher(&address("jobs")).await.unwrap(), 1).await;
}

const PATIENCE: Duration = Duration::from_secs(20);

fn address(text: &str) -> Address {
    Address::new(text.to_owned()).unwrap()
}

/// Starts the broker that replaces a dead one, as soon as its port is free.
async fn successor(address: std::net::SocketAddr) -> Broker {
    loop {
        match Broker::start_at(address).await {
            Ok(broker) => return broker,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn push(pusher: &Sender, n: u32) {
    pusher.send(Message::new(n.to_string())).await.unwrap();
}

async fn publish(publisher: &Sender, topic: &str) {
    let mut message = Message::default();
    message.topic = Some(address(topic));
    publisher.send(message).await.unwrap();
}

async fn next(receiver: &mut Receiver) -> Delivery {
    receiver.next().await.unwrap().unwrap()
}

async fn topic(receiver: &mut Receiver) -> String {
    let delivery = next(receiver).await;
    delivery.receipt.ack();
    delivery.message.topic.unwrap().to_string()
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.clone().into_bytes().into()).unwrap()
}
