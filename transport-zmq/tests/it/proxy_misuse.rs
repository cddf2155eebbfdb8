//! Proxies with peers that are malformed, or do not read.

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Router, Server};
use polywire_zmq::Zmq;
use polywire_zmq::proxy::{Pattern, Proxy};
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::{PATIENCE, until};

const ANY: &str = "tcp://127.0.0.1:*";

async fn start() -> Proxy {
    Proxy::start(Pattern::RequestReply, ANY, ANY).await.unwrap()
}

fn connect(endpoint: &str) -> Zmq {
    zmq().connect(endpoint).build().unwrap()
}

async fn serve(zmq: &Zmq) {
    let server = Server::bind(zmq, "a").await.unwrap();
    let router = Router::new(MessagePack).method("echo", |value: u64| async move { Ok(value) });
    tokio::spawn(server.serve(router));
}

#[tokio::test]
async fn malformed_messages_harm_no_proxy() {
    let proxy = start().await;
    for (kind, endpoint) in
        [(SocketType::Dealer, proxy.frontend()), (SocketType::Router, proxy.backend())]
    {
        let peer = Socket::try_new(kind, Options::default()).unwrap();
        peer.connect(endpoint).await.unwrap();
        peer.wait_connected(1, PATIENCE).await.unwrap();
        if kind == SocketType::Dealer {
            for message in
                [&b""[..], b"P", b"P\x01\x02\x01\0\0\0\0\0\0\0\x01\0\0\0\0", &[0xFF; 300]]
            {
                peer.send(Message::from_slice(message)).await.unwrap();
            }
        }
    }
    let serving = connect(proxy.backend());
    serve(&serving).await;
    let calling = connect(proxy.frontend());
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    assert_eq!(timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap().unwrap(), 1);
}

/// Makes an envelope of this kind, with the id and the deadline of a call.
fn envelope(kind: u8, id: u8) -> Vec<u8> {
    [&[b'P', 1, kind, 3], &[0; 7][..], &[id], &[0, 0, 255, 255], b"\x01\x01a\x02\x01m"].concat()
}

/// Waits for the next message of a server, and returns its kind.
async fn next_kind(server: &Socket) -> u8 {
    let message = timeout(PATIENCE, server.recv()).await.expect("a message arrives").unwrap();
    message.part_bytes(1).unwrap()[2]
}

/// A client of another kind may mark a call both as idempotent (4) and as one that no server may
/// begin after another one has (8).
#[tokio::test]
async fn lost_call_that_runs_at_most_once_is_not_sent_again() {
    for flags in [4, 4 | 8] {
        let proxy = start().await;
        let [lost, other] =
            [(); 2].map(|()| Socket::try_new(SocketType::Router, Options::default()).unwrap());
        lost.connect(proxy.backend()).await.unwrap();
        assert_eq!(next_kind(&lost).await, 8, "the question for the bound of the server");
        let caller = Socket::try_new(SocketType::Dealer, Options::default()).unwrap();
        caller.connect(proxy.frontend()).await.unwrap();
        let mut request = envelope(1, 7);
        request[3] |= flags;
        caller.send(Message::from(request)).await.unwrap();
        assert_eq!(next_kind(&lost).await, 1);
        other.connect(proxy.backend()).await.unwrap();
        assert_eq!(next_kind(&other).await, 8);
        lost.close().await.unwrap();
        if flags & 8 == 0 {
            assert_eq!(next_kind(&other).await, 1);
            continue;
        }
        tokio::select! {
            loss = timeout(PATIENCE, caller.recv()) => {
                let loss = loss.expect("the client learns of the loss").unwrap();
                let loss = loss.part_bytes(0).unwrap();
                assert_eq!((loss[2], loss[11]), (7, 7));
            }
            kind = next_kind(&other) => panic!("the other server gets a message of kind {kind}"),
        }
    }
}

#[tokio::test]
async fn client_that_does_not_read_holds_up_no_other() {
    let proxy = start().await;
    // With this option the socket waits for room, as a polywire server does. Otherwise it drops
    // replies of all clients.
    let options = Options::default().router_mandatory(true);
    let server = Socket::try_new(SocketType::Router, options).unwrap();
    server.connect(proxy.backend()).await.unwrap();
    server.wait_connected(1, PATIENCE).await.unwrap();
    let serving = tokio::spawn(async move {
        while let Ok(mut request) = server.recv().await {
            let identity = request.pop_identity().unwrap().to_bytes();
            let mut reply = request.part_bytes(0).unwrap()[..16].to_vec();
            reply[2] = 2;
            let reply = Message::multipart([bytes::Bytes::from(reply), vec![0; 50_000].into()]);
            server.send_to(&identity, reply).await.unwrap();
        }
    });
    let [silent, other] = [1, 1000].map(|ahead| {
        Socket::try_new(SocketType::Dealer, Options::default().recv_hwm(ahead)).unwrap()
    });
    for caller in [&silent, &other] {
        caller.connect(proxy.frontend()).await.unwrap();
    }
    // More than the queues and the connection hold. At 100 ms each, the replies would take minutes.
    for _ in 0..4000 {
        timeout(PATIENCE, silent.send(Message::from(envelope(1, 7)))).await.unwrap().unwrap();
    }
    until("all requests are passed on", || proxy.stats().to_backend >= 4000).await;
    other.send(Message::from(envelope(1, 8))).await.unwrap();
    let reply =
        timeout(PATIENCE, other.recv()).await.expect("the other client has a reply").unwrap();
    assert_eq!(reply.part_bytes(0).unwrap()[11], 8);
    assert!(proxy.stats().dropped > 0);
    serving.abort();
}

#[tokio::test]
async fn message_that_is_no_request_or_no_reply_is_dropped_and_counted() {
    let proxy = start().await;
    let [server, caller] = [SocketType::Router, SocketType::Dealer]
        .map(|kind| Socket::try_new(kind, Options::default()).unwrap());
    server.connect(proxy.backend()).await.unwrap();
    server.wait_connected(1, PATIENCE).await.unwrap();
    caller.connect(proxy.frontend()).await.unwrap();
    let too_many = std::iter::once(envelope(1, 9)).chain((0..100).map(|_| vec![b'x']));
    for message in [2, 3, 4, 5].map(|kind| Message::from(envelope(kind, 1))) {
        caller.send(message).await.unwrap();
    }
    caller.send(Message::multipart(too_many)).await.unwrap();
    caller.send(Message::from(envelope(1, 7))).await.unwrap();
    // The question for the bound of the server comes first. Only the request passes.
    let question = timeout(PATIENCE, server.recv()).await.unwrap().unwrap();
    assert_eq!(question.part_bytes(1).unwrap()[2], 8);
    let mut request = timeout(PATIENCE, server.recv()).await.unwrap().unwrap();
    let identity = request.pop_identity().unwrap().to_bytes();
    let request = request.part_bytes(0).unwrap();
    assert_eq!(request[2], 1);
    let number = request[11];
    assert_eq!((proxy.stats().to_backend, proxy.stats().dropped), (1, 5));
    for (kind, number) in [(1, number), (4, number), (5, number), (2, number + 1), (2, number)] {
        server.send_to(&identity, Message::from(envelope(kind, number))).await.unwrap();
    }
    let reply = timeout(PATIENCE, caller.recv()).await.unwrap().unwrap().part_bytes(0).unwrap();
    assert_eq!((reply[2], reply[11]), (2, 7));
    assert_eq!(proxy.stats().dropped, 9);
}
