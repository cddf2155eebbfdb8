//! Connecting, and failing to.

use std::time::Duration;

use futures_util::FutureExt;
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_core::{Error, ErrorKind, Transport};
use polywire_rabbitmq_node::Node;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::stage::{PATIENCE, client, serve};
use crate::{alone, broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        alone("malformed_url_is_refused", malformed_url_is_refused),
        alone("unreachable_host_is_named", unreachable_host_is_named),
        alone("unresolvable_host_is_named", unresolvable_host_is_named),
        alone(
            "silent_peer_is_given_up_in_the_connect_time",
            silent_peer_is_given_up_in_the_connect_time,
        ),
        broker("wrong_password_is_denied", wrong_password_is_denied),
        broker("unknown_virtual_host_is_denied", unknown_virtual_host_is_denied),
        node(
            "frozen_broker_does_not_keep_close_from_ending",
            frozen_broker_does_not_keep_close_from_ending,
        ),
        node("closing_goes_on_when_nobody_waits_for_it", closing_goes_on_when_nobody_waits_for_it),
        #[cfg(feature = "tls")]
        node("certificates_are_verified", certificates_are_verified),
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

async fn silent_peer_is_given_up_in_the_connect_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("amqp://user:hunter2@127.0.0.1:{port}?connection_timeout=500");
    let error = timeout(Duration::from_secs(5), refused(&url)).await.expect("it gives up");
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.detail("port"), Some(&*port.to_string()));
    // What was opened is closed again: whoever goes on trying does not pile up connections.
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it hangs up").unwrap();
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

/// The error of a connection that cannot be made; whose text holds no password.
async fn refused(url: &str) -> Error {
    let error = Amqp::connect(url).await.expect_err("the connection is refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

async fn frozen_broker_does_not_keep_close_from_ending() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&amqp, "cold").await;
    let client = client(&amqp, "cold").await;
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
    node.freeze().unwrap();
    timeout(PATIENCE, amqp.close()).await.expect("closing ends").unwrap();
    assert_eq!(client.call::<u32>("double", &1).await.unwrap_err().kind(), Some(ErrorKind::Closed));
}

async fn closing_goes_on_when_nobody_waits_for_it() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let server = serve(&amqp, "left").await;
    let client = client(&amqp, "left").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    let queues = || node.ctl(&["list_queues", "name"]).unwrap();
    assert!(queues().contains("polywire.reply."), "{}", queues());
    assert!(amqp.close().now_or_never().is_none(), "closing takes a moment");
    timeout(PATIENCE, server.drain()).await.expect("the server ends");
    // Whoever closes it again waits for the same end.
    timeout(PATIENCE, amqp.close()).await.expect("closing ends").unwrap();
    assert!(!queues().contains("polywire.reply."), "{}", queues());
}

#[cfg(feature = "tls")]
async fn certificates_are_verified() {
    let folder = certificate_folder("certificates");
    certificates(&folder);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.display();
    let node = Node::start_with(&format!(
        "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {at}/ca.pem\n\
         ssl_options.certfile = {at}/server.pem\nssl_options.keyfile = {at}/server.key\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n"
    ))
    .unwrap();
    let url =
        |host: &str, ca: &str| format!("amqps://guest:guest@{host}:{port}?cacertfile={at}/{ca}");

    let amqp = Amqp::connect(&url("localhost", "ca.pem")).await.unwrap();
    let _server = serve(&amqp, "secret").await;
    assert_eq!(client(&amqp, "secret").await.call::<u32>("double", &1).await.unwrap(), 2);

    // One that insists on the client's.
    let strict_port =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let strict = Node::start_with(&format!(
        "listeners.ssl.default = 127.0.0.1:{strict_port}\nssl_options.cacertfile = {at}/ca.pem\n\
         ssl_options.certfile = {at}/server.pem\nssl_options.keyfile = {at}/server.key\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
    ))
    .unwrap();
    let strict_url = format!("amqps://guest:guest@localhost:{strict_port}?cacertfile={at}/ca.pem");
    let error = Amqp::connect(&strict_url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    let with_ours = format!("{strict_url}&certfile={at}/server.pem&keyfile={at}/server.key");
    Amqp::connect(&with_ours).await.unwrap().close().await.unwrap();
    drop(strict);

    for (host, ca) in [("127.0.0.2", "ca.pem"), ("localhost", "other.pem")] {
        let error = Amqp::connect(&url(host, ca)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{host} {ca}: {error:?}");
        assert_eq!(error.detail("host"), Some(host));
    }
    drop(node);
}

/// A folder for the certificates of one test.
#[cfg(feature = "tls")]
pub(crate) fn certificate_folder(name: &str) -> std::path::PathBuf {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rabbitmq").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// A CA, a server's certificate for `localhost`, and a CA that signed nothing.
#[cfg(feature = "tls")]
pub(crate) fn certificates(folder: &std::path::Path) {
    let script = "set -e
        for ca in ca other; do
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem
        done
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        echo subjectAltName=DNS:localhost > names
        openssl x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out server.pem
        chmod 644 *.key";
    let made =
        std::process::Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
