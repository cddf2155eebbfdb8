//! Requests that a server declines: they go to each other server once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Fault, Router, Server, Transport};
#[cfg(feature = "engine-omq")]
use polywire_zmq::proxy::{Pattern, Proxy};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::time::timeout;

use crate::support::engine::{ENGINE, zmq};

const ANY: &str = "tcp://127.0.0.1:*";

/// The servers that handled a request, in order.
#[derive(Clone, Default)]
struct AskedServers(Arc<Mutex<Vec<&'static str>>>);

impl AskedServers {
    /// Returns the servers since the last call, sorted by name.
    fn take(&self) -> Vec<&'static str> {
        let mut names = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        names.sort_unstable();
        names
    }
}

/// Starts a server that accepts the requests with its name.
async fn serve(zmq: &Zmq, name: &'static str, asked: &AskedServers) {
    let server = Server::bind(zmq, "render").await.unwrap();
    let asked = asked.clone();
    let router = Router::new(MessagePack).method("film", move |wanted: String| {
        asked.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        async move {
            if wanted == name {
                Ok(name)
            } else {
                Err(Fault::declined(format!("{name} has no lens")))
            }
        }
    });
    tokio::spawn(server.serve(router));
}

fn builder(engine: Engine) -> ZmqBuilder {
    zmq().engine(engine)
}

async fn client(zmq: &Zmq) -> Client<MessagePack> {
    Client::connect(zmq, "render", MessagePack).timeout(Duration::from_mins(1)).await.unwrap()
}

/// Waits until the client has a reply of each server.
async fn wait_for_all(client: &Client<MessagePack>, asked: &AskedServers) {
    for name in ["one", "other", "third"] {
        let answers = async { while client.call::<String>("film", name).await.is_err() {} };
        timeout(Duration::from_mins(2), answers).await.unwrap();
    }
    asked.take();
}

/// Checks that each request reaches its server and no server twice, and that a request that all
/// decline reaches each once.
async fn check_each_is_asked_once(client: &Client<MessagePack>, asked: &AskedServers) {
    wait_for_all(client, asked).await;
    for _ in 0..3 {
        for name in ["one", "other", "third"] {
            assert_eq!(client.call::<String>("film", name).await.unwrap(), name);
            let names = asked.take();
            assert!(
                names.contains(&name) && names.is_sorted_by(|one, other| one < other),
                "{names:?}"
            );
        }
        assert!(client.call::<String>("film", "none").await.unwrap_err().is_declined());
        assert_eq!(asked.take(), ["one", "other", "third"]);
    }
}

fn engines() -> [Engine; 1] {
    [ENGINE]
}

#[tokio::test]
async fn declined_request_goes_to_each_other_server_once() {
    for engine in engines() {
        let (asked, mut serving, mut calling) =
            (AskedServers::default(), Vec::new(), builder(engine));
        for name in ["one", "other", "third"] {
            let zmq = builder(engine).bind(ANY).build().unwrap();
            serve(&zmq, name, &asked).await;
            calling = calling.connect(&zmq.local_endpoints()[0]);
            serving.push(zmq);
        }
        let calling = calling.build().unwrap();
        assert!(calling.capabilities().declining);
        check_each_is_asked_once(&client(&calling).await, &asked).await;
    }
}

#[tokio::test]
async fn declined_request_goes_to_each_other_server_of_its_process_once() {
    for engine in engines() {
        let asked = AskedServers::default();
        let zmq = builder(engine).bind(ANY).build().unwrap();
        for name in ["one", "other", "third"] {
            serve(&zmq, name, &asked).await;
        }
        let calling = builder(engine).connect(&zmq.local_endpoints()[0]).build().unwrap();
        check_each_is_asked_once(&client(&calling).await, &asked).await;
    }
}

/// It has begun at the server that declines it.
#[tokio::test]
async fn declined_request_that_runs_at_most_once_goes_to_no_other_server() {
    for engine in engines() {
        let (asked, mut serving, mut calling) =
            (AskedServers::default(), Vec::new(), builder(engine));
        for name in ["one", "other", "third"] {
            let zmq = builder(engine).bind(ANY).build().unwrap();
            serve(&zmq, name, &asked).await;
            calling = calling.connect(&zmq.local_endpoints()[0]);
            serving.push(zmq);
        }
        let calling = calling.build().unwrap();
        let client = client(&calling).await;
        wait_for_all(&client, &asked).await;
        for _ in 0..3 {
            let call = client.request("film").at_most_once().call::<String>("none");
            assert!(call.await.unwrap_err().is_declined());
            assert_eq!(asked.take().len(), 1);
        }
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn declined_request_goes_to_each_server_behind_a_proxy_once() {
    let proxy = Proxy::start(Pattern::RequestReply, ANY, ANY).await.unwrap();
    let (asked, mut serving) = (AskedServers::default(), Vec::new());
    let calling = builder(ENGINE).connect(proxy.frontend()).build().unwrap();
    let client = client(&calling).await;
    for name in ["one", "other", "third"] {
        let zmq = builder(ENGINE).connect(proxy.backend()).build().unwrap();
        serve(&zmq, name, &asked).await;
        serving.push(zmq);
    }
    check_each_is_asked_once(&client, &asked).await;
}
