//! Handles whose runtime has ended: nothing would send what they accept.

use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, ErrorKind, Publisher, Puller, Pusher, Router, Server};
use polywire_zmq::Zmq;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::PATIENCE;

#[test]
fn handles_are_closed_after_their_runtime_has_ended() {
    let bound = || zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let connected = |to: &Zmq| zmq().connect(&to.local_endpoints()[0]).build().unwrap();
    let (serving, pulling, publishing) = (bound(), bound(), bound());
    let runtime = Runtime::new().unwrap();
    let (client, publisher, pusher, mut puller) = runtime.block_on(async {
        let server = Server::bind(&serving, "a").await.unwrap();
        tokio::spawn(server.serve(Router::new(MessagePack).method("m", |(): ()| async { Ok(()) })));
        let client = Client::connect(&connected(&serving), "a", MessagePack).await.unwrap();
        client.call::<()>("m", &()).await.unwrap();
        let publisher = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
        publisher.publish("t", &1).await.unwrap();
        let puller = Puller::<u32>::bind(&pulling, "jobs", MessagePack).await.unwrap();
        let pusher = Pusher::connect(&connected(&pulling), "jobs", MessagePack).await.unwrap();
        pusher.push(&1).await.unwrap();
        (client, publisher, pusher, puller)
    });
    runtime.shutdown_timeout(PATIENCE);

    Runtime::new().unwrap().block_on(async {
        let closed = |error: Option<polywire_core::Error>| {
            assert_eq!(error.expect("nothing would send it").kind(), ErrorKind::Closed);
        };
        closed(publisher.publish("t", &2).await.err());
        closed(pusher.push(&2).await.err());
        let sent = timeout(PATIENCE, client.request("m").send(&())).await.expect("the send ends");
        closed(match sent.expect_err("nothing would send it") {
            CallError::Failed(error) => Some(error),
            other => panic!("{other}"),
        });
        // Jobs that had arrived come first.
        let ends = async { while puller.next().await.is_some() {} };
        timeout(PATIENCE, ends).await.expect("the puller ends");
    });
}
