//! Batches on the wire, as peers see them that are programs of another kind.

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Router, Server};
use polywire_zmq::Batching;
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::envelope::{BATCH, LEAVE, REPLY, REQUEST, envelope, id_of, received};
use crate::support::wait::PATIENCE;

/// Calls at a time, of which several are ready to leave at once.
const CALLS: u64 = 200;

/// Returns the field that states the largest batch.
fn batch_max(bytes: u64) -> Vec<u8> {
    [&[13, 8][..], &bytes.to_be_bytes()].concat()
}

/// Returns the messages of a batch.
fn split(batch: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut messages) = (&batch[16..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (message, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        messages.push(message);
        rest = after;
    }
    messages
}

/// Calls a server that states this largest batch. Returns the sizes of the batches that it got.
async fn batches_to_a_server(stated: Option<u64>, batching: Batching) -> Vec<usize> {
    let server = Socket::try_new(SocketType::Router, Options::default()).unwrap();
    let endpoint = server.bind("tcp://127.0.0.1:*").await.unwrap().to_string();
    let calling = zmq().connect(endpoint).batching(batching).build().unwrap();
    let connecting = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE);
    let client = timeout(PATIENCE, connecting.into_future());
    let (client, mut question) = tokio::join!(client, received(&server));
    let client = client.unwrap().unwrap();
    let peer = question.pop_identity().unwrap().to_bytes();
    let head = question.pop_front().unwrap();
    assert_eq!(head[2], LEAVE);
    let says_batches = head[16..].starts_with(&[13, 8]);
    assert_eq!(says_batches, batching == Batching::Auto, "{head:?}");
    let answer = envelope(LEAVE, None, &stated.map(batch_max).unwrap_or_default());
    server.send(Message::multipart([peer.clone(), answer.into()])).await.unwrap();

    // The client reads the answer before this reply.
    let first = client.request("m").start::<u64>(&()).unwrap();
    let mut sizes = Vec::new();
    let answer = async |count: u64, sizes: &mut Vec<usize>| {
        let mut answered = 0;
        while answered < count {
            let mut message = received(&server).await;
            message.pop_identity().unwrap();
            let head = message.pop_front().unwrap();
            let requests = match head[2] {
                BATCH => split(&head),
                _ => vec![&head[..]],
            };
            if head[2] == BATCH {
                sizes.push(head.len());
            }
            for request in requests {
                assert_eq!(request[2], REQUEST);
                let reply = envelope(REPLY, Some(id_of(request)), &[0x81, 1, 5]);
                server.send(Message::multipart([peer.clone(), reply.into()])).await.unwrap();
                answered += 1;
            }
        }
    };
    answer(1, &mut sizes).await;
    assert_eq!(timeout(PATIENCE, first).await.unwrap().unwrap(), 5);
    assert!(sizes.is_empty(), "a lone call leaves alone");
    let calls: Vec<_> =
        (0..CALLS).map(|_| client.request("m").start::<u64>(&()).unwrap()).collect();
    answer(CALLS, &mut sizes).await;
    for call in calls {
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), 5);
    }
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_are_joined_for_a_server_that_reads_batches() {
    let sizes = batches_to_a_server(Some(1000), Batching::Auto).await;
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
    assert!(sizes.iter().any(|size| *size > 500), "several calls fit: {sizes:?}");
    for (stated, batching) in
        [(None, Batching::Auto), (Some(40), Batching::Auto), (Some(1000), Batching::Off)]
    {
        let sizes = batches_to_a_server(stated, batching).await;
        assert!(sizes.is_empty(), "{stated:?}, {batching}: {sizes:?}");
    }
}

/// Sends a batch of requests to a server. Returns the number of replies that came alone, and of
/// those that came in batches.
async fn replies_of_a_server(states_batches: bool, batching: Batching) -> (usize, usize) {
    let serving = zmq().bind("tcp://127.0.0.1:*").batching(batching).build().unwrap();
    let server = Server::bind(&serving, "a").await.unwrap();
    tokio::spawn(server.serve(Router::new(MessagePack).method("m", async |(): ()| Ok(5))));
    let client = Socket::try_new(SocketType::Dealer, Options::default()).unwrap();
    client.connect(serving.local_endpoints()[0].as_str()).await.unwrap();
    let bound = if states_batches { batch_max(10_000) } else { Vec::new() };
    let question = envelope(LEAVE, Some(u64::MAX - 2), &bound);
    client.send(Message::from(question)).await.unwrap();
    let answer = received(&client).await.pop_front().unwrap();
    let reads = answer[16..].windows(2).any(|tag| tag == [13, 8]);
    assert_eq!((answer[2], reads), (LEAVE, batching == Batching::Auto), "{answer:?}");

    let request = |id| envelope(REQUEST, Some(id), b"\x01\x01a\x02\x01m\x81\x01\xc0");
    client.send(Message::from(request(0))).await.unwrap();
    assert_eq!(received(&client).await.pop_front().unwrap()[2], REPLY, "a lone call");
    let mut batch = envelope(BATCH, None, &[]);
    for id in 1..=CALLS {
        batch.extend(u32::try_from(request(id).len()).unwrap().to_be_bytes());
        batch.extend(request(id));
    }
    client.send(Message::from(batch)).await.unwrap();
    let (mut alone, mut joined, mut ids) = (0, 0, Vec::new());
    while ids.len() < CALLS as usize {
        let head = received(&client).await.pop_front().unwrap();
        if head[2] == BATCH {
            joined += split(&head).len();
            ids.extend(split(&head).into_iter().map(id_of));
        } else {
            alone += 1;
            ids.push(id_of(&head));
        }
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=CALLS), "each call has its reply");
    (alone, joined)
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_is_answered_in_batches_if_its_client_reads_them() {
    let (_, joined) = replies_of_a_server(true, Batching::Auto).await;
    assert!(joined > 1, "{joined}");
    for (states, batching) in [(false, Batching::Auto), (true, Batching::Off)] {
        assert_eq!(replies_of_a_server(states, batching).await, (CALLS as usize, 0), "{batching}");
    }
}
