//! Texts of errors: each cause is a sentence of its own, and is shown once.

use std::error::Error as StdError;

use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{Error, ErrorKind, Pusher};
use polywire_rabbitmq_node::Node;
#[cfg(feature = "tls")]
use polywire_rabbitmq_node::Setup;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node each_cause_is_named_once,
        #[cfg(feature = "tls")]
        node each_cause_of_tls_is_named_once,
    ]
}

/// Returns the error of a connect, and its text. A report that walks the sources must show no more
/// than the text does.
async fn refused(url: &str) -> (Error, String) {
    let error = Amqp::connect(url).await.expect_err("the connection is refused");
    let text = error.to_string();
    assert!(error.source().is_none(), "the text contains the causes: {error}");
    assert!(error.is_unsent(), "{error}");
    assert!(!text.contains("hunter2"), "{text}");
    (error, text)
}

async fn each_cause_is_named_once() {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "hunter2"]).unwrap();
    node.ctl(&["add_vhost", "private"]).unwrap();
    node.ctl(&["set_permissions", "alice", "^$", ".*", ".*"]).unwrap();
    let port = node.port();
    let http = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http_port = http.local_addr().unwrap().port();
    tokio::spawn(answer_as_http(http));
    for (url, kind, cause) in [
        (
            format!("amqp://guest:hunter2@127.0.0.1:{port}"),
            ErrorKind::Denied,
            "the user name or the password was refused (user: guest)",
        ),
        (
            format!("amqp://bob:hunter2@127.0.0.1:{port}"),
            ErrorKind::Denied,
            "the user name or the password was refused (user: bob)",
        ),
        (
            format!("amqp://alice:hunter2@127.0.0.1:{port}/nowhere"),
            ErrorKind::Denied,
            "the virtual host does not exist (vhost: nowhere)",
        ),
        (
            format!("amqp://alice:hunter2@127.0.0.1:{port}/private"),
            ErrorKind::Denied,
            "the user may not use the virtual host (user: alice, vhost: private)",
        ),
        (
            // Listening on a port below 1024 needs a privilege.
            "amqp://alice:hunter2@127.0.0.1:1".to_owned(),
            ErrorKind::Disconnected,
            "no broker listens there: connection refused",
        ),
        (
            format!("amqp://alice:hunter2@127.0.0.1:{http_port}"),
            ErrorKind::Disconnected,
            "the peer does not speak AMQP 0-9-1",
        ),
    ] {
        let (error, text) = refused(&url).await;
        assert_eq!(error.kind(), kind, "{text}");
        let at = error.detail("port").unwrap();
        assert_eq!(text, format!("cannot connect to the broker at 127.0.0.1:{at}: {cause}"));
    }
    let (error, text) = refused("amqp://alice:hunter2@nowhere.invalid").await;
    let start = "cannot connect to the broker at nowhere.invalid:5672: the host name cannot be \
                 resolved: ";
    assert!(error.kind() == ErrorKind::Disconnected && text.starts_with(start), "{text}");

    let alice = Amqp::connect(&format!("amqp://alice:hunter2@127.0.0.1:{port}")).await.unwrap();
    let error = Pusher::connect(&alice, "missing", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.source().is_none());
    let text = error.to_string();
    let start = "cannot declare the queue (queue: polywire.jobs.missing): the user 'alice' lacks ";
    // Newer brokers name the permission.
    let permission = text
        .strip_prefix(start)
        .and_then(|rest| rest.strip_suffix(" for the queue 'polywire.jobs.missing' in vhost '/'"));
    assert!(matches!(permission, Some("a permission" | "the permission `configure`")), "{text}");
}

/// Answers each connection like a web server.
async fn answer_as_http(listener: tokio::net::TcpListener) {
    use tokio::io::AsyncWriteExt;
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        // Until the client closes the connection.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

#[cfg(feature = "tls")]
async fn each_cause_of_tls_is_named_once() {
    use crate::certificates::{certificate_folder, create_certificates};

    let folder = certificate_folder("texts");
    create_certificates(&folder);
    let at = folder.display();
    let encrypted = || Setup::new().certificates(&folder);
    let node = encrypted().start().unwrap();
    let strict = encrypted().config("ssl_options.fail_if_no_peer_cert = true").start().unwrap();
    let [port, strict_port] = [&node, &strict].map(|node| node.tls_port().unwrap());
    let plain_port = node.port();
    let wrong_name = format!("amqps://guest:guest@127.0.0.1:{port}?cacertfile={at}/ca.pem");
    for (url, causes) in [
        (
            format!("amqps://guest:guest@localhost:{port}?cacertfile={at}/other.pem"),
            ["no trusted authority has signed the broker's certificate"].as_slice(),
        ),
        (wrong_name, ["the broker's certificate is for another host name"].as_slice()),
        (
            format!("amqps://guest:guest@localhost:{plain_port}?cacertfile={at}/ca.pem"),
            ["the port does not speak TLS"].as_slice(),
        ),
        (
            format!("amqp://guest:guest@localhost:{port}"),
            ["the port speaks TLS", "the port may be one for amqps://"].as_slice(),
        ),
        (
            format!("amqps://guest:guest@localhost:{strict_port}?cacertfile={at}/ca.pem"),
            ["require a certificate of the client", "requires a certificate of the client"]
                .as_slice(),
        ),
    ] {
        let (error, text) = refused(&url).await;
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{text}");
        let named: Vec<_> = causes.iter().filter(|cause| text.contains(**cause)).collect();
        assert_eq!(named.len(), 1, "{url}: {text}");
        assert_eq!(text.matches(named[0]).count(), 1, "{text}");
        eprintln!("{text}");
    }
}
