//! Connecting and closing: URLs, refusals, timeouts, frozen brokers and certificates.

use std::time::Duration;

use futures_util::FutureExt;
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_core::{Error, ErrorKind, Transport};
use polywire_rabbitmq_node::Node;
#[cfg(feature = "tls")]
use polywire_rabbitmq_node::Setup;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::context::PATIENCE;
use crate::endpoints::{client, serve};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone malformed_url_is_refused,
        alone unreachable_host_is_named,
        alone unresolvable_host_is_named,
        alone silent_peer_times_out,
        broker wrong_password_is_denied,
        broker unknown_virtual_host_is_denied,
        node close_ends_with_a_frozen_broker,
        node close_goes_on_when_its_future_is_dropped,
        #[cfg(feature = "tls")]
        node certificates_are_verified,
    ]
}

async fn malformed_url_is_refused() {
    for url in [
        "http://user:hunter2@localhost",
        "amqp://user:hunter2@localhost:port",
        "user:hunter2@localhost",
    ] {
        assert_eq!(refused(url).await.kind(), ErrorKind::Config, "{url}");
    }
}

async fn unreachable_host_is_named() {
    let error = refused("amqp://user:hunter2@127.0.0.1:1").await;
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!((error.detail("host"), error.detail("port")), (Some("127.0.0.1"), Some("1")));
}

async fn unresolvable_host_is_named() {
    let error = refused("amqp://user:hunter2@nowhere.invalid").await;
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.detail("host"), Some("nowhere.invalid"));
}

async fn silent_peer_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("amqp://user:hunter2@127.0.0.1:{port}?connection_timeout=500");
    let error = timeout(Duration::from_secs(5), refused(&url)).await.expect("connecting times out");
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.detail("port"), Some(&*port.to_string()));
    // The TCP connection is closed, so that further attempts do not pile up connections.
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut received))
        .await
        .expect("the connection is closed")
        .unwrap();
}

async fn wrong_password_is_denied(url: String) {
    let error = refused(&url.replace("guest:guest", "guest:hunter2")).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.detail("host").is_some());
}

async fn unknown_virtual_host_is_denied(url: String) {
    let error = refused(&url.replace("%2f", "nowhere")).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}

/// Returns the error of a failed connect, and asserts that it contains no password.
async fn refused(url: &str) -> Error {
    let error = Amqp::connect(url).await.expect_err("the connection is refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

async fn close_ends_with_a_frozen_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&amqp, "cold").await;
    let client = client(&amqp, "cold").await;
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
    node.freeze().unwrap();
    timeout(PATIENCE, amqp.close()).await.expect("closing ends").unwrap();
    assert_eq!(client.call::<u32>("double", &1).await.unwrap_err().kind(), Some(ErrorKind::Closed));
}

async fn close_goes_on_when_its_future_is_dropped() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let server = serve(&amqp, "left").await;
    let client = client(&amqp, "left").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    let queues = || node.ctl(&["list_queues", "name"]).unwrap();
    assert!(queues().contains("polywire.reply."), "{}", queues());
    assert!(amqp.close().now_or_never().is_none(), "closing takes a moment");
    timeout(PATIENCE, server.drain()).await.expect("the server ends");
    // A second call waits for the same end.
    timeout(PATIENCE, amqp.close()).await.expect("closing ends").unwrap();
    assert!(!queues().contains("polywire.reply."), "{}", queues());
}

#[cfg(feature = "tls")]
async fn certificates_are_verified() {
    use crate::certificates::{certificate_folder, create_certificates};

    let folder = certificate_folder("certificates");
    create_certificates(&folder);
    let at = folder.display();
    let encrypted = || Setup::new().certificates(&folder);
    let node = encrypted().start().unwrap();
    let port = node.tls_port().unwrap();
    let url =
        |host: &str, ca: &str| format!("amqps://guest:guest@{host}:{port}?cacertfile={at}/{ca}");

    let amqp = Amqp::connect(&url("localhost", "ca.pem")).await.unwrap();
    let _server = serve(&amqp, "secret").await;
    assert_eq!(client(&amqp, "secret").await.call::<u32>("double", &1).await.unwrap(), 2);

    // A node that requires a certificate of the client.
    let strict = encrypted().config("ssl_options.fail_if_no_peer_cert = true").start().unwrap();
    let strict_port = strict.tls_port().unwrap();
    let strict_url = format!("amqps://guest:guest@localhost:{strict_port}?cacertfile={at}/ca.pem");
    let error = Amqp::connect(&strict_url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    let with_ours = format!("{strict_url}&certfile={at}/server.pem&keyfile=file:{at}/server.key");
    Amqp::connect(&with_ours).await.unwrap().close().await.unwrap();
    drop(strict);

    for (host, ca) in [("127.0.0.2", "ca.pem"), ("localhost", "other.pem")] {
        let error = Amqp::connect(&url(host, ca)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{host} {ca}: {error:?}");
        assert_eq!(error.detail("host"), Some(host));
    }
    drop(node);
}
