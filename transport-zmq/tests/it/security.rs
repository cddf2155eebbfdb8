//! Peers that authenticate, and peers that are denied: in every pattern, and through a proxy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, Context, ErrorKind, Identity, Publisher, Puller, Pusher, Router, Server,
    Subscriber, Transport,
};
use polywire_zmq::curve::{self, KeyPair};
use polywire_zmq::proxy::{Pattern, Proxy, ProxyEndpoint};
use polywire_zmq::{Admission, Engine, Zmq, ZmqBuilder, plain};
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::PATIENCE;

fn builder() -> ZmqBuilder {
    zmq().connect_timeout(Duration::from_secs(2))
}

async fn serve(transport: &Zmq) {
    let server = Server::bind(transport, "whoami").await.unwrap();
    let router = Router::new(MessagePack).method("peer", |context: Context, (): ()| async move {
        Ok(match context.peer.as_deref() {
            Some(Identity::Key(key)) => format!("key {key}"),
            Some(Identity::User(user)) => format!("user {user}"),
            other => format!("{other:?}"),
        })
    });
    tokio::spawn(server.serve(router));
}

async fn whoami(transport: &Zmq) -> Result<String, CallError> {
    let client = Client::connect(transport, "whoami", MessagePack).timeout(PATIENCE).await?;
    timeout(PATIENCE, client.call("peer", &())).await.expect("the call ends")
}

fn kind(outcome: Result<String, CallError>) -> ErrorKind {
    match outcome {
        Err(CallError::Failed(error)) => error.kind(),
        other => panic!("the call ended with {other:?}"),
    }
}

/// The keys of a CURVE server, and of its only allowed client.
struct Keys {
    server: KeyPair,
    client: KeyPair,
}

impl Keys {
    fn new() -> Self {
        Self { server: KeyPair::generate(), client: KeyPair::generate() }
    }

    fn server(&self) -> curve::CurveServer {
        curve::CurveServer::new(self.server.clone()).allow([self.client.public()])
    }

    fn client(&self) -> curve::CurveClient {
        curve::CurveClient::new(self.server.public()).keys(self.client.clone())
    }
}

#[tokio::test]
async fn handler_gets_the_key_of_the_client() {
    secured_engine!();
    let keys = Keys::new();
    let serving = builder().bind("tcp://127.0.0.1:*").curve_server(keys.server()).build().unwrap();
    assert!(serving.capabilities().security);
    serve(&serving).await;
    let calling = builder()
        .connect(&serving.local_endpoints()[0])
        .curve_client(keys.client())
        .build()
        .unwrap();
    assert_eq!(whoami(&calling).await.unwrap(), format!("key {}", keys.client.public()));
}

#[tokio::test]
async fn unknown_key_is_denied_and_other_mechanisms_are_unroutable() {
    secured_engine!();
    let keys = Keys::new();
    let serving = builder().bind("tcp://127.0.0.1:*").curve_server(keys.server()).build().unwrap();
    serve(&serving).await;
    let endpoint = serving.local_endpoints()[0].clone();
    let to = || builder().connect(&endpoint);

    let unknown = to().curve_client(curve::CurveClient::new(keys.server.public())).build().unwrap();
    assert_eq!(kind(whoami(&unknown).await), ErrorKind::Denied);
    let wrong_server =
        to().curve_client(curve::CurveClient::new(keys.client.public()).keys(keys.client.clone()));
    assert_eq!(kind(whoami(&wrong_server.build().unwrap()).await), ErrorKind::Unroutable);
    assert_eq!(kind(whoami(&to().build().unwrap()).await), ErrorKind::Unroutable);
    let with_a_password =
        to().plain_client(plain::PlainClient::new("alice", "secret")).build().unwrap();
    assert_eq!(kind(whoami(&with_a_password).await), ErrorKind::Unroutable);

    assert!(whoami(&to().curve_client(keys.client()).build().unwrap()).await.is_ok());
}

#[tokio::test]
async fn callback_allows_a_key_besides_the_list() {
    secured_engine!();
    let keys = Keys::new();
    let known = keys.client.public();
    let server = curve::CurveServer::new(keys.server.clone()).allow_if(move |key| *key == known);
    let serving = builder().bind("tcp://127.0.0.1:*").curve_server(server).build().unwrap();
    serve(&serving).await;
    let calling = builder()
        .connect(&serving.local_endpoints()[0])
        .curve_client(keys.client())
        .build()
        .unwrap();
    assert!(whoami(&calling).await.is_ok());
}

#[tokio::test]
async fn handler_gets_the_user_with_the_right_password() {
    secured_engine!();
    let users = plain::PlainServer::new([("alice", "secret")])
        .allow_if(|user, password| user == "bob" && password == "b");
    let serving = builder().bind("tcp://127.0.0.1:*").plain_server(users).build().unwrap();
    serve(&serving).await;
    let endpoint = serving.local_endpoints()[0].clone();
    let with = |user: &str, password: &str| {
        builder()
            .connect(&endpoint)
            .plain_client(plain::PlainClient::new(user, password))
            .build()
            .unwrap()
    };
    assert_eq!(whoami(&with("alice", "secret")).await.unwrap(), "user alice");
    assert_eq!(whoami(&with("bob", "b")).await.unwrap(), "user bob");
    assert_eq!(kind(whoami(&with("alice", "wrong")).await), ErrorKind::Denied);
}

#[tokio::test]
async fn jobs_and_events_pass_between_allowed_peers() {
    secured_engine!();
    let keys = Keys::new();
    let serving = builder().bind("tcp://127.0.0.1:*").curve_server(keys.server()).build().unwrap();
    let mut jobs: Puller<u32> = Puller::bind(&serving, "jobs", MessagePack).await.unwrap();
    let publisher = Publisher::connect(&serving, "news", MessagePack).await.unwrap();
    let [to_puller, to_publisher] = serving.local_endpoints().try_into().unwrap();

    let pushing = builder().connect(&to_puller).curve_client(keys.client()).build().unwrap();
    let pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    pusher.push(&7_u32).await.unwrap();
    assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), 7);

    let reading = builder().connect(&to_publisher).curve_client(keys.client()).build().unwrap();
    let mut news: Subscriber<u32> =
        Subscriber::bind(&reading, "news", MessagePack).filter("#").await.unwrap();
    publisher.publish("a", &8_u32).await.unwrap();
    assert_eq!(*timeout(PATIENCE, news.next()).await.unwrap().unwrap().unwrap(), 8);

    let unknown = builder()
        .connect(&to_puller)
        .curve_client(curve::CurveClient::new(keys.server.public()))
        .build()
        .unwrap();
    let pusher = Pusher::connect(&unknown, "jobs", MessagePack).await.unwrap();
    let error = timeout(PATIENCE, pusher.push(&9_u32)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

/// Makes a transport that binds a free port and denies the first client.
fn denying_once() -> Zmq {
    let has_denied = AtomicBool::new(false);
    let users = plain::PlainServer::new::<&str, &str>([])
        .allow_if(move |_, _| has_denied.swap(true, Ordering::Relaxed));
    let builder = builder().bind("tcp://127.0.0.1:*").plain_server(users);
    builder.connect_timeout(PATIENCE).build().unwrap()
}

#[tokio::test]
async fn denied_puller_and_subscriber_connect_once_they_are_allowed() {
    secured_engine!();
    let [pushing, publishing] = [(); 2].map(|()| denying_once());
    let pusher = Pusher::connect(&pushing, "jobs", MessagePack).timeout(PATIENCE).await.unwrap();
    let publisher = Publisher::connect(&publishing, "news", MessagePack).await.unwrap();
    let [pulling, reading] = [&pushing, &publishing].map(|bound| {
        let builder = builder().connect(&bound.local_endpoints()[0]);
        builder.plain_client(plain::PlainClient::new("alice", "secret")).build().unwrap()
    });
    let mut jobs: Puller<u32> = Puller::bind(&pulling, "jobs", MessagePack).await.unwrap();
    let mut news: Subscriber<u32> =
        Subscriber::bind(&reading, "news", MessagePack).filter("#").await.unwrap();
    timeout(PATIENCE, pusher.push(&7_u32)).await.expect("the puller connects").unwrap();
    assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), 7);
    let arrived = async {
        loop {
            // Dropped while the subscriber is not connected.
            publisher.publish("a", &8_u32).await.unwrap();
            if let Ok(event) = timeout(Duration::from_millis(50), news.next()).await {
                return *event.unwrap().unwrap();
            }
        }
    };
    assert_eq!(timeout(PATIENCE, arrived).await.expect("an event arrives"), 8);
    for transport in [&pulling, &reading] {
        let mut changes = transport.health().changes();
        let until_ready = async { while !changes.next().await.unwrap().is_ready() {} };
        timeout(PATIENCE, until_ready).await.expect("the refusal ends");
    }
}

#[tokio::test]
async fn denied_puller_and_subscriber_are_refused_until_their_peers_are_gone() {
    secured_engine!();
    let [pushing, publishing] = [(); 2].map(|()| {
        let users = plain::PlainServer::new([("alice", "secret")]);
        builder().bind("tcp://127.0.0.1:*").plain_server(users).build().unwrap()
    });
    let _pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    let _publisher = Publisher::connect(&publishing, "news", MessagePack).await.unwrap();
    let [pulling, reading] = [&pushing, &publishing].map(|bound| {
        let builder = builder().connect(&bound.local_endpoints()[0]);
        builder.plain_client(plain::PlainClient::new("alice", "wrong")).build().unwrap()
    });
    let _jobs: Puller<u32> = Puller::bind(&pulling, "jobs", MessagePack).await.unwrap();
    let _news = Subscriber::<u32>::bind(&reading, "news", MessagePack).await.unwrap();
    let has_state = async |transport: &Zmq, state: &str| {
        let mut changes = transport.health().changes();
        let until_it_has =
            async { while changes.next().await.unwrap().endpoints[0].state.as_str() != state {} };
        timeout(PATIENCE, until_it_has).await.expect("the state changes");
    };
    for transport in [&pulling, &reading] {
        has_state(transport, "refused").await;
    }
    pushing.close().await.unwrap();
    publishing.close().await.unwrap();
    for transport in [&pulling, &reading] {
        has_state(transport, "interrupted").await;
    }
}

#[tokio::test]
async fn endpoint_of_a_peer_that_denies_access_is_removed() {
    secured_engine!();
    let users = plain::PlainServer::new([("alice", "secret")]);
    let publishing = builder().bind("tcp://127.0.0.1:*").plain_server(users).build().unwrap();
    let _publisher = Publisher::connect(&publishing, "news", MessagePack).await.unwrap();
    let endpoint = publishing.local_endpoints()[0].clone();
    let reading = builder()
        .connect(&endpoint)
        .plain_client(plain::PlainClient::new("alice", "wrong"))
        .build()
        .unwrap();
    // Opens when the publisher has denied access.
    let _news = Subscriber::<u32>::bind(&reading, "news", MessagePack).await.unwrap();
    reading.disconnect_endpoint(&endpoint).await.unwrap();
    let again = reading.disconnect_endpoint(&endpoint).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Config, "{again}");
}

#[tokio::test]
async fn each_side_of_a_proxy_has_its_own_keys() {
    secured_engine!();
    let (frontend, backend) = (Keys::new(), Keys::new());
    let proxy = Proxy::start(
        Pattern::RequestReply,
        ProxyEndpoint::bind("tcp://127.0.0.1:*").curve_server(frontend.server()),
        ProxyEndpoint::bind("tcp://127.0.0.1:*").curve_server(backend.server()),
    )
    .await
    .unwrap();
    let serving =
        builder().connect(proxy.backend()).curve_client(backend.client()).build().unwrap();
    serve(&serving).await;
    let calling =
        builder().connect(proxy.frontend()).curve_client(frontend.client()).build().unwrap();
    // The server sees the key of the proxy.
    assert_eq!(whoami(&calling).await.unwrap(), format!("key {}", backend.server.public()));
    let unknown = builder().connect(proxy.frontend()).build().unwrap();
    assert_eq!(kind(whoami(&unknown).await), ErrorKind::Unroutable);
    proxy.stop().await;
}

#[tokio::test]
async fn host_has_its_share_of_connections_and_regains_it() {
    secured_engine!();
    let admission = Admission { host_connections_max: 2, ..Admission::default() };
    let serving = builder().bind("tcp://127.0.0.1:*").admission(admission).build().unwrap();
    serve(&serving).await;
    let to = || builder().connect(&serving.local_endpoints()[0]).build().unwrap();
    let one = to();
    let (first, second) =
        (whoami(&one).await, Client::connect(&one, "whoami", MessagePack).await.unwrap());
    assert_eq!(first.unwrap(), "None");
    let _: String = second.call("peer", &()).await.unwrap();
    let third = Client::connect(&one, "whoami", MessagePack).await.unwrap();
    let _: String = third.call("peer", &()).await.unwrap();
    // Two connections are open now: those of the second and the third client of the transport.
    assert_eq!(kind(whoami(&to()).await), ErrorKind::Unroutable);
    drop((second, third));
    one.close().await.unwrap();
    assert!(whoami(&to()).await.is_ok());
}

#[cfg(feature = "engine-zeromq")]
#[test]
fn unsupported_settings_of_the_other_engine_are_refused() {
    let keys = Keys::new();
    let with = || builder().connect("tcp://127.0.0.1:5").engine(Engine::Zeromq);
    for refused in [
        with().curve_server(keys.server()).build(),
        with().curve_client(keys.client()).build(),
        with().plain_client(plain::PlainClient::new("alice", "secret")).build(),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert!(!with().build().unwrap().capabilities().security);
}
