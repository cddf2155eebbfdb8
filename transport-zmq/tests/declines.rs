//! A request that a server declines is sent to the next one, by its caller.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failure")]

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Fault, Router, Server, Transport};
use polywire_zmq::Zmq;

/// A server that takes what is for it.
async fn serve(name: &'static str) -> Zmq {
    let zmq = Zmq::builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let server = Server::bind(&zmq, "render").await.unwrap();
    let router = Router::new(MessagePack).method("film", move |for_whom: String| async move {
        if for_whom == name { Ok(name) } else { Err(Fault::declined(format!("{name} has no lens"))) }
    });
    tokio::spawn(server.serve(router));
    zmq
}

#[tokio::test]
async fn declined_request_reaches_another_server() {
    let (one, other) = (serve("one").await, serve("other").await);
    let endpoints = [one.local_endpoints()[0].clone(), other.local_endpoints()[0].clone()];
    let [first, second] = endpoints;
    let calling = Zmq::builder().connect(first).connect(second).build().unwrap();
    assert!(!calling.capabilities().declining);
    let client =
        Client::connect(&calling, "render", MessagePack).timeout(Duration::from_mins(1)).await.unwrap();
    for name in ["one", "other", "other", "one"] {
        assert_eq!(client.call::<_, String>("film", name).await.unwrap(), name);
    }
    assert!(client.call::<_, String>("film", "nobody").await.unwrap_err().is_declined());
}
