//! Health and canaries over real sockets.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::health::{CanaryReceiver, Health, HealthChanges};
use polywire_core::{
    Client, ErrorKind, Publisher, Puller, Pusher, Router, Server, Subscriber, Transport, Worker,
};
use polywire_zmq::{Side, curve, plain};
use tokio::time::timeout;

use crate::support::context::{builder, free_endpoint, setups};
use crate::support::engine::zmq;
use crate::support::refusing::RefusingPeer;
use crate::support::wait::PATIENCE;

/// Waits for a state of the health, and returns it.
async fn until(changes: &mut HealthChanges, holds: impl Fn(&Health) -> bool) -> Health {
    let waiting = async {
        loop {
            let health = changes.next().await.expect("the transport is open");
            if holds(&health) {
                return health;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the health changes")
}

fn is_connected(health: &Health) -> bool {
    health.connection.is_connected()
}

/// Returns the states of the connection and of the first endpoint handle.
fn states(health: &Health) -> (&'static str, Option<&'static str>) {
    let handle = health.endpoints.first().map(|endpoint| endpoint.state.as_str());
    (health.connection.as_str(), handle)
}

#[tokio::test]
async fn canary_of_a_server_comes_back_through_its_socket() {
    for setup in setups().into_iter().filter(|setup| matches!(setup.1, Side::Connect)) {
        let transport = builder(&setup).bind(free_endpoint(&setup)).build().unwrap();
        assert_eq!(transport.health().current().connection.as_str(), "connecting");
        let server = Server::bind(&transport, "a").await.unwrap();
        let health = transport.health();
        assert_eq!(health.current().to_string(), "connected, consuming 1 of 1", "{setup:?}");
        let lost = health.canary(Duration::from_millis(300)).await;
        assert!(!lost.is_ok(), "a server that is not polled answered: {lost:?}");
        let handle = server.handle();
        tokio::spawn(server.serve(Router::new(MessagePack)));
        let report = health.canary(PATIENCE).await;
        assert!(report.is_own(), "{setup:?}: {report:?}");
        assert_eq!((handle.stats().answered, handle.stats().rejected), (0, 0));
        assert_eq!(health.current().endpoints[0].received(), 0);
        transport.close().await.unwrap();
        assert_eq!(health.current().connection.as_str(), "closed");
    }
}

#[tokio::test]
async fn each_of_several_servers_of_a_process_finds_its_own_canary() {
    for setup in setups().into_iter().filter(|setup| matches!(setup.1, Side::Connect)) {
        let transport = builder(&setup).bind(free_endpoint(&setup)).build().unwrap();
        for service in ["a", "a", "b"] {
            let server = Server::bind(&transport, service).await.unwrap();
            tokio::spawn(server.serve(Router::new(MessagePack)));
        }
        let report = transport.health().canary(PATIENCE).await;
        assert!(report.is_own() && report.endpoints.len() == 3, "{setup:?}: {report:?}");
    }
}

#[tokio::test]
async fn server_that_does_not_receive_names_the_other_one() {
    let transport = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _idle = Server::bind(&transport, "a").await.unwrap();
    let server = Server::bind(&transport, "a").await.unwrap();
    tokio::spawn(server.serve(Router::new(MessagePack)));
    let limit = Duration::from_secs(2);
    let mut others = 0;
    while others == 0 {
        let report = transport.health().canary(limit).await;
        let outcome = &report.endpoints[0].outcome;
        match outcome {
            Ok(echo) => {
                assert!(matches!(echo.receiver, CanaryReceiver::Other { .. }), "{echo:?}");
                others += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::DeadlineExceeded),
        }
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn canaries_of_workers_and_subscribers_come_back() {
    let pulling = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let worker = Worker::bind(&pulling, "q", MessagePack).await.unwrap();
    let handle = worker.handle();
    tokio::spawn(worker.work(async |_: u32| Ok(())));
    let report = pulling.health().canary(PATIENCE).await;
    assert!(report.is_own() && report.endpoints.len() == 1, "{report:?}");
    assert_eq!((handle.stats().done, handle.stats().rejected), (0, 0));

    let publishing = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _publisher = Publisher::connect(&publishing, "c", MessagePack).await.unwrap();
    let subscribing = zmq().connect(&publishing.local_endpoints()[0]).build().unwrap();
    let bound = Subscriber::<u32>::bind(&subscribing, "c", MessagePack).filter("#");
    let mut subscriber = bound.await.unwrap();
    until(&mut subscribing.health().changes(), is_connected).await;
    let health = subscribing.health();
    let report = tokio::select! {
        report = health.canary(PATIENCE) => report,
        event = subscriber.next() => panic!("a subscriber received a canary: {event:?}"),
    };
    assert!(report.is_own(), "{report:?}");
    publishing.close().await.unwrap();
    until(&mut health.changes(), |health| !is_connected(health)).await;
    let report = health.canary(PATIENCE).await;
    assert_eq!(report.endpoints[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
}

/// The receivers of a closed transport may still exist.
#[tokio::test]
async fn canaries_of_a_closed_transport_fail_as_closed() {
    let transport = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _server = Server::bind(&transport, "a").await.unwrap();
    let _puller: Puller<u32> = Puller::bind(&transport, "q", MessagePack).await.unwrap();
    transport.close().await.unwrap();
    let report = transport.health().canary(PATIENCE).await;
    let kinds: Vec<_> =
        report.endpoints.iter().map(|canary| canary.outcome.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Closed, ErrorKind::Closed]);
}

#[tokio::test]
async fn client_is_connected_while_a_server_is() {
    for setup in setups().into_iter().filter(|setup| matches!(setup.1, Side::Connect)) {
        let serving = builder(&setup).bind(free_endpoint(&setup)).build().unwrap();
        let server = Server::bind(&serving, "a").await.unwrap();
        let endpoint = serving.local_endpoints()[0].clone();
        let calling = builder(&setup).connect(&endpoint).build().unwrap();
        let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
        let mut changes = calling.health().changes();
        until(&mut changes, Health::is_ready).await;
        drop(server);
        serving.close().await.unwrap();
        until(&mut changes, |health| health.connection.as_str() == "connecting").await;
        let serving = builder(&setup).bind(&endpoint).build().unwrap();
        let _server = Server::bind(&serving, "a").await.unwrap();
        until(&mut changes, Health::is_ready).await;
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn server_and_puller_that_connect_are_connected_while_a_peer_is() {
    let calling = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    assert!(calling.health().current().is_ready());
    let serving = zmq().connect(&calling.local_endpoints()[0]).build().unwrap();
    let _server = Server::bind(&serving, "a").await.unwrap();
    let mut changes = serving.health().changes();
    until(&mut changes, Health::is_ready).await;
    let report = serving.health().canary(PATIENCE).await;
    assert_eq!(report.endpoints[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
    calling.close().await.unwrap();
    until(&mut changes, |health| !health.is_ready()).await;
}

/// Canaries come from a client of the transport itself, which needs no key or password of a user.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn canaries_come_back_through_sockets_that_authenticate_their_peers() {
    secured_engine!();
    let keys = curve::CurveServer::new(curve::KeyPair::generate());
    let users = plain::PlainServer::new([("alice", "secret")]);
    let with_keys = zmq().bind("tcp://127.0.0.1:*").curve_server(keys);
    let with_users = zmq().bind("tcp://127.0.0.1:*").plain_server(users);
    for builder in [with_keys, with_users] {
        let transport = builder.build().unwrap();
        let server = Server::bind(&transport, "a").await.unwrap();
        tokio::spawn(server.serve(Router::new(MessagePack)));
        let worker = Worker::bind(&transport, "q", MessagePack).await.unwrap();
        tokio::spawn(worker.work(async |_: u32| Ok(())));
        let report = transport.health().canary(PATIENCE).await;
        assert!(report.is_own() && report.endpoints.len() == 2, "{report:?}");
    }
    // Only the connecting peer has the credentials of a server.
    let client = plain::PlainClient::new("alice", "secret");
    let binding = zmq().bind("tcp://127.0.0.1:*").plain_client(client).build().unwrap();
    let _puller: Puller<u32> = Puller::bind(&binding, "q", MessagePack).await.unwrap();
    let report = binding.health().canary(PATIENCE).await;
    assert_eq!(report.endpoints[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn wrong_password_shows_at_the_first_refusal() {
    secured_engine!();
    let users = plain::PlainServer::new([("alice", "secret")]);
    let serving = zmq().bind("tcp://127.0.0.1:*").plain_server(users).build().unwrap();
    let _puller: Puller<u32> = Puller::bind(&serving, "q", MessagePack).await.unwrap();
    let calling = zmq().connect(&serving.local_endpoints()[0]);
    let calling = calling.plain_client(plain::PlainClient::new("alice", "wrong")).build().unwrap();
    let mut changes = calling.health().changes();
    let _pusher = Pusher::connect(&calling, "q", MessagePack).await.unwrap();
    let refused = until(&mut changes, |health| health.connection.as_str() == "refused").await;
    assert_eq!(refused.connection.error().unwrap().kind(), ErrorKind::Denied);
    assert!(!refused.is_ready());
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn refusal_ends_with_the_peer_that_refused() {
    secured_engine!();
    let users = plain::PlainServer::new([("alice", "secret")]);
    let serving = zmq().bind("tcp://127.0.0.1:*").plain_server(users).build().unwrap();
    let puller: Puller<u32> = Puller::bind(&serving, "q", MessagePack).await.unwrap();
    let endpoint = serving.local_endpoints()[0].clone();
    let calling = zmq().connect(&endpoint);
    let calling = calling.plain_client(plain::PlainClient::new("alice", "wrong")).build().unwrap();
    let mut changes = calling.health().changes();
    let _pusher = Pusher::connect(&calling, "q", MessagePack).await.unwrap();
    until(&mut changes, |health| health.connection.as_str() == "refused").await;
    drop(puller);
    serving.close().await.unwrap();
    until(&mut changes, |health| health.connection.as_str() == "connecting").await;
}

#[tokio::test]
async fn bound_endpoint_does_not_hide_a_refusal_and_a_peer_does() {
    let refusing = RefusingPeer::bind().await;
    let pushing = zmq().bind("tcp://127.0.0.1:*").connect(&refusing.endpoint).build().unwrap();
    let mut changes = pushing.health().changes();
    let pusher = Pusher::connect(&pushing, "q", MessagePack).await.unwrap();
    let refused = until(&mut changes, |health| health.connection.as_str() == "refused").await;
    let error = refused.connection.error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.detail("endpoint"), Some(&*refusing.endpoint));
    assert!(!refused.is_ready());
    let pulling = zmq().connect(&pushing.local_endpoints()[0]).build().unwrap();
    let puller: Puller<u32> = Puller::bind(&pulling, "q", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    until(&mut changes, Health::is_ready).await;
    drop(puller);
    until(&mut changes, |health| health.connection.as_str() == "refused").await;
    refusing.stop().await;
}

#[tokio::test]
async fn subscriber_that_connects_consumes_while_a_publisher_is_connected() {
    let publishing = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _publisher = Publisher::connect(&publishing, "c", MessagePack).await.unwrap();
    let subscribing = zmq().connect(&publishing.local_endpoints()[0]).build().unwrap();
    let _subscriber = Subscriber::<u32>::bind(&subscribing, "c", MessagePack).await.unwrap();
    let mut changes = subscribing.health().changes();
    until(&mut changes, Health::is_ready).await;
    publishing.close().await.unwrap();
    until(&mut changes, |health| states(health) == ("connecting", Some("interrupted"))).await;
}

/// Publishers may connect to it at any time, as clients do to a server.
#[tokio::test]
async fn subscriber_that_binds_consumes_without_a_publisher() {
    let subscribing = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _subscriber = Subscriber::<u32>::bind(&subscribing, "c", MessagePack).await.unwrap();
    let health = subscribing.health().current();
    assert_eq!(health.to_string(), "connected, consuming 1 of 1");
}

#[tokio::test]
async fn publisher_that_connects_is_connected_while_a_subscriber_is() {
    let subscribing = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let _subscriber = Subscriber::<u32>::bind(&subscribing, "c", MessagePack).await.unwrap();
    let publishing = zmq().connect(&subscribing.local_endpoints()[0]).build().unwrap();
    let _publisher = Publisher::connect(&publishing, "c", MessagePack).await.unwrap();
    let mut changes = publishing.health().changes();
    until(&mut changes, Health::is_ready).await;
    subscribing.close().await.unwrap();
    until(&mut changes, |health| health.connection.as_str() == "connecting").await;
}

#[tokio::test]
async fn refusal_of_a_subscriber_and_of_a_puller_shows_until_the_peer_is_gone() {
    let refusing = RefusingPeer::bind().await;
    let [subscribing, pulling] =
        [(); 2].map(|()| zmq().connect(&refusing.endpoint).build().unwrap());
    let _subscriber = Subscriber::<u32>::bind(&subscribing, "c", MessagePack).await.unwrap();
    let _puller: Puller<u32> = Puller::bind(&pulling, "q", MessagePack).await.unwrap();
    let mut changes = [&subscribing, &pulling].map(|transport| transport.health().changes());
    for changes in &mut changes {
        until(changes, |health| states(health) == ("refused", Some("refused"))).await;
    }
    refusing.stop().await;
    for changes in &mut changes {
        until(changes, |health| states(health) == ("connecting", Some("interrupted"))).await;
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn name_that_cannot_be_resolved_is_the_cause_of_a_failed_call() {
    let calling = zmq().connect("tcp://no-such-host.invalid:5555");
    let calling = calling.connect_timeout(Duration::from_secs(5)).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    let error = client.call::<()>("b", &()).await.unwrap_err();
    // Without a resolver, there is no answer at all.
    let causes = ["there is no such host", "there is no answer to the lookup of the host"];
    assert!(causes.iter().any(|cause| error.to_string().contains(cause)), "{error}");
}
