//! Endpoints, sides, and connections that are lost and made again.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{CallError, Client, Error, ErrorKind, Result, Router, Server, Transport};
use polywire_zmq::{Engine, Side, Zmq, ZmqBuilder};
use tokio::time::timeout;

use crate::support::address::own_host;
use crate::support::engine::{ENGINE, zmq};
#[cfg(unix)]
use crate::support::folder::TempFolder;
use crate::support::wait::PATIENCE;

fn engines() -> [Engine; 1] {
    [ENGINE]
}

fn builder(engine: Engine) -> ZmqBuilder {
    zmq().engine(engine).connect_timeout(Duration::from_secs(5))
}

async fn serve(transport: &Zmq, service: &'static str) -> ServerHandle {
    let server = Server::bind(transport, service).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("name", move |(): ()| async move { Ok(service) })
        .method("hang", |(): ()| async move { Ok(std::future::pending::<u32>().await) });
    tokio::spawn(server.serve(router));
    handle
}

async fn client(transport: &Zmq, service: &'static str) -> Client<MessagePack> {
    Client::connect(transport, service, MessagePack).timeout(PATIENCE).await.unwrap()
}

async fn name(client: &Client<MessagePack>) -> Result<String, CallError> {
    client.call("name", &()).await
}

fn failure(outcome: Result<String, CallError>) -> Error {
    match outcome {
        Err(CallError::Failed(error)) => error,
        other => panic!("the call ended with {other:?}"),
    }
}

#[tokio::test]
async fn free_port_is_chosen_and_reported() {
    for engine in engines() {
        let serving =
            builder(engine).bind("tcp://127.0.0.1:*").bind("tcp://127.0.0.1:0").build().unwrap();
        assert!(serving.local_endpoints().is_empty());
        serve(&serving, "a").await;
        let endpoints = serving.local_endpoints();
        assert_eq!(endpoints.len(), 2, "{endpoints:?}");
        for endpoint in endpoints {
            let calling = builder(engine).connect(endpoint).build().unwrap();
            assert_eq!(name(&client(&calling, "a").await).await.unwrap(), "a");
        }
        serving.close().await.unwrap();
        assert!(serving.local_endpoints().is_empty());
    }
}

#[tokio::test]
async fn services_share_an_endpoint_and_an_unknown_service_is_refused_at_once() {
    for engine in engines() {
        let serving = builder(engine).bind("tcp://127.0.0.1:*").build().unwrap();
        let a = serve(&serving, "a").await;
        serve(&serving, "b").await;
        let calling = builder(engine).connect(&serving.local_endpoints()[0]).build().unwrap();
        let (to_a, to_b, to_c) =
            (client(&calling, "a").await, client(&calling, "b").await, client(&calling, "c").await);
        assert_eq!(name(&to_a).await.unwrap(), "a");
        assert_eq!(name(&to_b).await.unwrap(), "b");
        let refused = timeout(Duration::from_secs(2), name(&to_c))
            .await
            .expect("the call is refused before the connect timeout");
        let error = failure(refused);
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        assert!(error.is_unsent());
        a.drain().await;
        assert_eq!(failure(name(&to_a).await).kind(), ErrorKind::Unroutable);
        assert_eq!(name(&to_b).await.unwrap(), "b");
    }
}

#[tokio::test]
async fn service_is_found_at_its_endpoint() {
    for engine in engines() {
        let [first, second] =
            [(); 2].map(|()| builder(engine).bind("tcp://127.0.0.1:*").build().unwrap());
        serve(&first, "a").await;
        serve(&second, "b").await;
        let endpoints = [first.local_endpoints(), second.local_endpoints()].concat();
        let calling =
            endpoints.into_iter().fold(builder(engine), ZmqBuilder::connect).build().unwrap();
        for service in ["a", "b"] {
            let client = client(&calling, service).await;
            for _ in 0..20 {
                assert_eq!(name(&client).await.unwrap(), service);
            }
        }
    }
}

#[tokio::test]
async fn unreachable_endpoint_gets_no_calls() {
    for engine in engines() {
        let serving = builder(engine).bind("tcp://127.0.0.1:*").build().unwrap();
        serve(&serving, "a").await;
        let calling = builder(engine)
            .connect("tcp://127.0.0.1:1")
            .connect(&serving.local_endpoints()[0])
            .build()
            .unwrap();
        let client = client(&calling, "a").await;
        for _ in 0..50 {
            assert_eq!(name(&client).await.unwrap(), "a");
        }
    }
}

#[tokio::test]
async fn call_without_a_server_is_unroutable_after_the_connect_timeout() {
    for engine in engines() {
        let calling = builder(engine)
            .connect("tcp://127.0.0.1:1")
            .connect("tcp://127.0.0.1:2")
            .connect_timeout(Duration::from_millis(200))
            .build()
            .unwrap();
        let client = client(&calling, "a").await;
        let error = failure(timeout(PATIENCE, name(&client)).await.unwrap());
        assert_eq!(error.kind(), ErrorKind::Unroutable);
        assert!(error.is_unsent());
        assert_eq!(error.detail("endpoints"), Some("tcp://127.0.0.1:1, tcp://127.0.0.1:2"));
    }
}

#[tokio::test]
async fn lost_connection_fails_its_calls_and_is_made_again() {
    for engine in engines() {
        let serving = builder(engine).bind(format!("tcp://{}:*", own_host())).build().unwrap();
        let handle = serve(&serving, "a").await;
        let endpoint = serving.local_endpoints()[0].clone();
        let calling = builder(engine).connect(&endpoint).connect_timeout(PATIENCE).build().unwrap();
        let client = client(&calling, "a").await;
        let mut hanging = client.request("hang").start::<String>(&()).unwrap();
        hanging.sent().await;
        name(&client).await.unwrap();

        serving.close().await.unwrap();
        drop((serving, handle));
        let error = failure(timeout(PATIENCE, hanging).await.expect("the lost call ends"));
        assert_eq!(error.kind(), ErrorKind::Disconnected);
        assert!(!error.is_unsent());
        assert_eq!(error.detail("endpoint"), Some(&*endpoint));

        let early = tokio::spawn(async move { name(&client).await });
        let next = rebind(engine, &endpoint).await;
        assert_eq!(timeout(PATIENCE, early).await.unwrap().unwrap().unwrap(), "a");
        next.close().await.unwrap();
    }
}

/// Serves at the endpoint of a closed server as soon as the endpoint is free.
async fn rebind(engine: Engine, endpoint: &str) -> Zmq {
    timeout(PATIENCE, async {
        loop {
            let serving = builder(engine).bind(endpoint).build().unwrap();
            if let Ok(server) = Server::bind(&serving, "a").await {
                let router =
                    Router::new(MessagePack).method("name", |(): ()| async move { Ok("a") });
                tokio::spawn(server.serve(router));
                return serving;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the endpoint is free again")
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn servers_connect_to_their_client() {
    let calling =
        builder(ENGINE).endpoint("tcp://127.0.0.1:*").server_side(Side::Connect).build().unwrap();
    let client = client(&calling, "a").await;
    let early = tokio::spawn({
        let client = client.clone();
        async move { name(&client).await }
    });
    let endpoint = calling.local_endpoints()[0].clone();
    let [first, second] = [(); 2]
        .map(|()| builder(ENGINE).endpoint(&endpoint).server_side(Side::Connect).build().unwrap());
    serve(&first, "a").await;
    serve(&second, "a").await;
    assert_eq!(early.await.unwrap().unwrap(), "a");
    first.close().await.unwrap();
    // A call on its way to the closed server is lost. The next call is not.
    let _ = client.with_timeout(Duration::from_millis(500)).call::<String>("name", &()).await;
    assert_eq!(name(&client).await.unwrap(), "a");
}

/// A peer sends requests that are valid in ZeroMQ but not on the native wire.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn reply_to_a_malformed_request_names_the_cause() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let serving = builder(ENGINE).bind("tcp://127.0.0.1:*").build().unwrap();
    let handle = serve(&serving, "a").await;
    let peer = Socket::try_new(SocketType::Dealer, Options::default()).unwrap();
    peer.connect(serving.local_endpoints()[0].as_str()).await.unwrap();
    let request = |fields: &[u8]| [b"P\x01\x01\x01\0\0\0\0\0\0\0\x2a\0\0\0\0", fields].concat();
    for (request, complaint) in [
        (request(b"\x02\x01x"), "names no service"),
        (request(b"\x01\x01a\x02\x02.."), "a field holds no valid address (byte: 19"),
        (request(b"\x01\x01a\xff\0"), "unknown critical field"),
    ] {
        // A message without an envelope has no reply and is dropped.
        peer.send(Message::from_slice(b"hello")).await.unwrap();
        peer.send(Message::from_slice(&request)).await.unwrap();
        let reply = timeout(PATIENCE, peer.recv()).await.expect("the request has a reply").unwrap();
        let envelope = reply.part_slice(0).unwrap();
        assert_eq!(envelope[..12], *b"P\x01\x02\x01\0\0\0\0\0\0\0\x2a");
        assert!(
            String::from_utf8_lossy(envelope).contains(complaint),
            "{}",
            envelope.escape_ascii()
        );
    }
    // The request without a service reached no handler.
    assert_eq!(handle.stats().answered, 2);
}

#[cfg(unix)]
#[tokio::test]
async fn stale_socket_file_is_replaced_and_one_in_use_is_not() {
    for engine in engines() {
        let folder = TempFolder::new();
        let path = folder.file("a.sock");
        let url = format!("zmq+ipc://{}?engine={engine}", path.display());
        // A stale file, as a killed server leaves it.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

        let serving = Zmq::connect(&url).await.unwrap();
        serve(&serving, "a").await;
        let second = Zmq::connect(&url).await.unwrap();
        let error = Server::bind(&second, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("a.sock"), "{error}");
        let calling = Zmq::connect(&url).await.unwrap();
        assert_eq!(name(&client(&calling, "a").await).await.unwrap(), "a");
        serving.close().await.unwrap();
    }
}

#[tokio::test]
async fn error_of_a_port_in_use_names_it() {
    for engine in engines() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", taken.local_addr().unwrap());
        let transport = builder(engine).bind(&endpoint).build().unwrap();
        let error = Server::bind(&transport, "a").await.unwrap_err();
        assert_eq!(error.detail("endpoint"), Some(&*endpoint));
    }
}
