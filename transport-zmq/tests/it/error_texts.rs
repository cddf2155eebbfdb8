//! Texts of errors: each cause is a sentence of its own, and is shown once.

use std::error::Error as StdError;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, Error, ErrorKind, Server};
use polywire_zmq::{Engine, ZmqBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::address::free_address;
use crate::support::engine::{ENGINE, zmq};
use crate::support::folder::TempFolder;
use crate::support::wait::PATIENCE;

fn engines() -> [Engine; 1] {
    [ENGINE]
}

/// Returns the error of a server that cannot bind.
async fn not_bound(engine: Engine, endpoint: &str) -> Error {
    let transport = zmq().engine(engine).bind(endpoint).build().unwrap();
    let error = Server::bind(&transport, "a").await.map(drop).unwrap_err();
    assert!(error.source().is_none() && error.is_unsent(), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error
}

/// Returns the error of a call to a server that cannot be connected. Calls again while the cause is
/// not known yet.
async fn not_called(builder: ZmqBuilder, cause: &str) -> Error {
    let transport = builder.connect_timeout(Duration::from_millis(300)).build().unwrap();
    let client = Client::connect(&transport, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    failed(&client, cause).await
}

/// Calls until the error has the cause, and returns the error.
async fn failed(client: &Client<MessagePack>, cause: &str) -> Error {
    let calling = async {
        loop {
            let CallError::Failed(error) = client.call::<()>("m", &()).await.unwrap_err() else {
                panic!("the call fails on this side");
            };
            assert!(error.source().is_none() && error.is_unsent(), "{error:?}");
            if error.to_string().contains(cause) {
                return error;
            }
            eprintln!("{error}");
        }
    };
    tokio::time::timeout(PATIENCE, calling).await.unwrap_or_else(|_| panic!("no {cause}"))
}

#[tokio::test]
async fn each_cause_of_a_failed_bind_is_named_once() {
    let folder = TempFolder::new();
    for engine in engines() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let used = format!("tcp://127.0.0.1:{}", taken.local_addr().unwrap().port());
        let missing = format!("ipc://{}", folder.file("missing/a.sock").display());
        for (endpoint, cause) in [
            (&*used, "the address is in use"),
            ("tcp://192.0.2.1:0", "no interface of this machine has the address"),
            ("tcp://nowhere.invalid:0", "there is no such host"),
            (&*missing, "the folder of the socket file does not exist"),
        ] {
            let error = not_bound(engine, endpoint).await;
            let text = error.to_string();
            let start = format!("cannot bind {endpoint}: {cause}");
            assert!(text.starts_with(&start), "{engine}: {text}");
            assert_eq!(text.matches(endpoint).count(), 1, "{engine}: {text}");
        }
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn lacking_server_is_named_with_its_cause() {
    let endpoint = format!("tcp://{}", free_address());
    let cause = "no peer listens there: connection refused";
    let builder = zmq().connect(&endpoint);
    let error = not_called(builder, cause).await;
    assert_eq!(error.kind(), ErrorKind::Unroutable, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("cannot send the request: no server is connected ("), "{text}");
    assert_eq!(text.matches(cause).count(), 1, "{text}");
    assert_eq!(text.matches(&*endpoint).count(), 1, "{text}");
}

/// A peer that comes later, and closes each connection without an answer.
#[tokio::test]
async fn cause_is_that_of_the_latest_attempt() {
    let folder = TempFolder::new();
    let file = folder.file("a.sock");
    let builder = zmq().connect(format!("ipc://{}", file.display()));
    let transport = builder.connect_timeout(Duration::from_millis(300)).build().unwrap();
    let client = Client::connect(&transport, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    failed(&client, "there is no such socket file").await;
    let listener = tokio::net::UnixListener::bind(&file).unwrap();
    let closing = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // A close with unread bytes would be an error, which has a reason of its own.
                stream.shutdown().await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    failed(&client, "the peer closed the connection").await;
    closing.abort();
}

/// Needs a user whom the rights of files bind.
#[tokio::test]
async fn socket_file_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempFolder::new();
    let locked = folder.file("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(&locked).is_ok() {
        not_run!("the rights of files do not bind this user");
    }
    for engine in engines() {
        let endpoint = format!("ipc://{}", locked.join("a.sock").display());
        let error = not_bound(engine, &endpoint).await;
        assert!(error.to_string().contains("may not create the socket file"), "{error}");
        let builder = zmq().engine(engine).connect(&endpoint);
        not_called(builder, "this user may not connect to the socket file").await;
    }
}

#[cfg(feature = "curve")]
#[tokio::test]
async fn refused_handshakes_differ() {
    use polywire_zmq::curve::{CurveClient, CurveServer, KeyPair};

    secured_engine!();

    let [keys, unknown] = [(); 2].map(|()| KeyPair::generate());
    let public = keys.public();
    let serving = zmq()
        .bind("tcp://127.0.0.1:*")
        .curve_server(CurveServer::new(keys).allow([]))
        .build()
        .unwrap();
    let _server = Server::bind(&serving, "a").await.unwrap();
    let calling = || zmq().connect(&serving.local_endpoints()[0]);
    let stranger = calling().curve_client(CurveClient::new(public).keys(unknown));
    let error = not_called(stranger, "denied access").await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let error = not_called(calling(), "the handshake failed: ").await;
    assert_eq!(error.kind(), ErrorKind::Unroutable, "{error}");
}
