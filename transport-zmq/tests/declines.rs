//! A request that a server declines goes to each other one, once.

#![cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failure")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Fault, Router, Server, Transport};
#[cfg(feature = "engine-omq")]
use polywire_zmq::proxy::{Pattern, Proxy};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::time::timeout;

const ANY: &str = "tcp://127.0.0.1:*";

/// Who was asked, in turn.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<&'static str>>>);

impl Asked {
    /// Those who were asked since the last look, in the order of their names.
    fn take(&self) -> Vec<&'static str> {
        let mut names = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        names.sort_unstable();
        names
    }
}

/// A server that takes what is for it.
async fn serve(zmq: &Zmq, name: &'static str, asked: &Asked) {
    let server = Server::bind(zmq, "render").await.unwrap();
    let asked = asked.clone();
    let router = Router::new(MessagePack).method("film", move |for_whom: String| {
        asked.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        async move {
            if for_whom == name {
                Ok(name)
            } else {
                Err(Fault::declined(format!("{name} has no lens")))
            }
        }
    });
    tokio::spawn(server.serve(router));
}

fn builder(engine: Engine) -> ZmqBuilder {
    Zmq::builder().engine(engine)
}

async fn client(zmq: &Zmq) -> Client<MessagePack> {
    Client::connect(zmq, "render", MessagePack).timeout(Duration::from_mins(1)).await.unwrap()
}

/// Waits until all three can be reached.
async fn all_are_there(client: &Client<MessagePack>, asked: &Asked) {
    for name in ["one", "other", "third"] {
        let answers = async { while client.call::<String>("film", name).await.is_err() {} };
        timeout(Duration::from_mins(2), answers).await.unwrap();
    }
    asked.take();
}

/// What one of three takes, that one answers, and nobody is asked twice; what nobody takes, each is
/// asked for once.
async fn each_is_asked_once(client: &Client<MessagePack>, asked: &Asked) {
    all_are_there(client, asked).await;
    for _ in 0..3 {
        for name in ["one", "other", "third"] {
            assert_eq!(client.call::<String>("film", name).await.unwrap(), name);
            let names = asked.take();
            assert!(
                names.contains(&name) && names.is_sorted_by(|one, other| one < other),
                "{names:?}"
            );
        }
        assert!(client.call::<String>("film", "nobody").await.unwrap_err().is_declined());
        assert_eq!(asked.take(), ["one", "other", "third"]);
    }
}

fn engines() -> Vec<Engine> {
    vec![
        #[cfg(feature = "engine-omq")]
        Engine::Omq,
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq,
    ]
}

#[tokio::test]
async fn declined_request_goes_to_each_other_server_once() {
    for engine in engines() {
        let (asked, mut serving, mut calling) = (Asked::default(), Vec::new(), builder(engine));
        for name in ["one", "other", "third"] {
            let zmq = builder(engine).bind(ANY).build().unwrap();
            serve(&zmq, name, &asked).await;
            calling = calling.connect(&zmq.local_endpoints()[0]);
            serving.push(zmq);
        }
        let calling = calling.build().unwrap();
        assert!(calling.capabilities().declining);
        each_is_asked_once(&client(&calling).await, &asked).await;
    }
}

#[tokio::test]
async fn declined_request_goes_to_each_other_server_of_its_process_once() {
    for engine in engines() {
        let asked = Asked::default();
        let zmq = builder(engine).bind(ANY).build().unwrap();
        for name in ["one", "other", "third"] {
            serve(&zmq, name, &asked).await;
        }
        let calling = builder(engine).connect(&zmq.local_endpoints()[0]).build().unwrap();
        each_is_asked_once(&client(&calling).await, &asked).await;
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn declined_request_goes_to_each_server_behind_a_forwarder_once() {
    let forwarder = Proxy::start(Pattern::RequestReply, ANY, ANY).await.unwrap();
    let (asked, mut serving) = (Asked::default(), Vec::new());
    let calling = builder(Engine::Omq).connect(forwarder.frontend()).build().unwrap();
    let client = client(&calling).await;
    for name in ["one", "other", "third"] {
        let zmq = builder(Engine::Omq).connect(forwarder.backend()).build().unwrap();
        serve(&zmq, name, &asked).await;
        serving.push(zmq);
    }
    each_is_asked_once(&client, &asked).await;
}
