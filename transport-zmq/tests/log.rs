//! Log lines for operators: connections that come and go, and peers that are denied.
//!
//! A program of its own, since the counts of throttled lines belong to the whole process.

#![cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Puller, Pusher, Router, Server, Transport};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use self::refusing::RefusingPeer;

#[path = "it/support/address.rs"]
mod address;
#[path = "log/lost_messages.rs"]
mod lost_messages;
#[path = "it/support/refusing.rs"]
mod refusing;

const PATIENCE: Duration = Duration::from_secs(60);

const REFUSED: &str = "the peer refuses the connection; retrying";
const ACCEPTED: &str = "the peer accepts the connection again";

type Fields = BTreeMap<&'static str, String>;

/// The lines of this backend at level INFO or above.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<Fields>>>);

impl<S: Subscriber> Layer<S> for LogLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || !metadata.target().starts_with("polywire_zmq") {
            return;
        }
        let mut fields = Fields::from([("level", metadata.level().to_string())]);
        event.record(&mut FieldVisitor(&mut fields));
        self.0.lock().unwrap().push(fields);
    }
}

struct FieldVisitor<'a>(&'a mut Fields);

impl Visit for FieldVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl LogLines {
    /// Returns the lines with this message.
    fn find(&self, message: &str) -> Vec<Fields> {
        self.0.lock().unwrap().iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// Waits for a line with this message, and checks its level.
    async fn wait_for(&self, level: &str, message: &str) -> Fields {
        let found = async {
            loop {
                // The first line: later ones are throttled and counted.
                if let Some(line) = self.find(message).into_iter().next() {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let line =
            timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("{message}: {:?}", self.0));
        assert_eq!(line["level"], level, "{line:?}");
        line
    }
}

/// Collects the log lines of this thread while the guard exists.
fn watch() -> (LogLines, tracing::subscriber::DefaultGuard) {
    static REGISTERED: std::sync::Once = std::sync::Once::new();
    // The first thread that reaches a log statement decides for all threads whether it is enabled.
    REGISTERED.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
    let lines = LogLines::default();
    let guard =
        tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
    (lines, guard)
}

fn builder(engine: Engine) -> ZmqBuilder {
    Zmq::builder().engine(engine).connect_timeout(PATIENCE)
}

/// Starts a server as soon as its endpoint is free.
async fn serve(builder: ZmqBuilder) -> Zmq {
    let serving = async {
        loop {
            let zmq = builder.clone().build().unwrap();
            if let Ok(server) = Server::bind(&zmq, "a").await {
                tokio::spawn(
                    server.serve(Router::new(MessagePack).method("m", |(): ()| async { Ok(()) })),
                );
                return zmq;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, serving).await.expect("the endpoint is free")
}

#[tokio::test]
async fn lost_and_restored_connection_is_logged_with_its_endpoint() {
    for engine in [
        #[cfg(feature = "engine-omq")]
        Engine::Omq,
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq,
    ] {
        let (lines, _guard) = watch();
        let serving = serve(builder(engine).bind(format!("tcp://{}:*", address::own_host()))).await;
        let endpoint = serving.local_endpoints()[0].clone();
        let calling = builder(engine).connect(&endpoint).build().unwrap();
        let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        client.call::<()>("m", &()).await.unwrap();
        assert_eq!(lines.wait_for("INFO", "connected").await["endpoint"], endpoint);
        assert_eq!(lines.find("connection lost"), []);

        serving.close().await.unwrap();
        drop(serving);
        let lost = lines.wait_for("WARN", "connection lost").await;
        assert_eq!((&*lost["endpoint"], &*lost["calls"]), (&*endpoint, "0"));
        if engine == Engine::Omq {
            assert!(lost["reason"].contains("PeerClosed"), "{lost:?}");
        }

        let _serving = serve(builder(engine).bind(&endpoint)).await;
        let back = lines.wait_for("INFO", "reconnected").await;
        assert_eq!(back["endpoint"], endpoint);
        assert!(back.contains_key("outage_s"), "{back:?}");
        assert_eq!(lines.find("connected").len(), 1);
        // Closing the client is no warning.
        calling.close().await.unwrap();
        assert_eq!(lines.find("connection lost").len(), 1);
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn connecting_and_disconnecting_servers_are_logged() {
    let (lines, _guard) = watch();
    let calling = builder(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let serving = serve(builder(Engine::Omq).connect(&calling.local_endpoints()[0])).await;
    client.call::<()>("m", &()).await.unwrap();
    let came = lines.wait_for("INFO", "connected").await;
    serving.close().await.unwrap();
    assert_eq!(lines.wait_for("WARN", "connection lost").await["endpoint"], came["endpoint"]);
}

#[tokio::test]
async fn refusal_is_one_error_until_the_peer_accepts() {
    for engine in [
        #[cfg(feature = "engine-omq")]
        Engine::Omq,
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq,
    ] {
        let (lines, _guard) = watch();
        // A socket for each endpoint, and one for all endpoints.
        let [called, pulled] = [RefusingPeer::bind().await, RefusingPeer::bind().await];
        let calling = builder(engine).connect(&called.endpoint).build().unwrap();
        let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
        let pulling = builder(engine).connect(&pulled.endpoint).build().unwrap();
        let _puller: Puller<u32> = Puller::bind(&pulling, "jobs", MessagePack).await.unwrap();
        lines.wait_for("ERROR", REFUSED).await;
        let (called, pulled) = (called.stop().await, pulled.stop().await);
        let refused = lines.find(REFUSED);
        assert_eq!(refused.len(), 2, "{refused:?}");
        for endpoint in [&called, &pulled] {
            assert!(refused.iter().any(|line| line["endpoint"] == *endpoint), "{refused:?}");
        }
        assert_eq!(lines.find(ACCEPTED), []);

        let _serving = serve(builder(engine).bind(&called)).await;
        assert_eq!(lines.wait_for("INFO", ACCEPTED).await["endpoint"], called);
        let accepting = async {
            loop {
                let pushing = builder(engine).bind(&pulled).build().unwrap();
                if let Ok(pusher) = Pusher::connect(&pushing, "jobs", MessagePack).await {
                    return (pushing, pusher);
                }
                tokio::task::yield_now().await;
            }
        };
        let _pusher = timeout(PATIENCE, accepting).await.expect("the endpoint is free");
        let both = async {
            while lines.find(ACCEPTED).len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, both).await.expect("the puller is accepted");
        assert_eq!((lines.find(REFUSED).len(), lines.find(ACCEPTED).len()), (2, 2));
    }
}

#[cfg(feature = "curve")]
#[tokio::test]
async fn denied_peer_is_logged_on_both_sides() {
    use polywire_zmq::curve::{CurveClient, CurveServer, KeyPair};

    let (lines, _guard) = watch();
    let [server_keys, unknown_keys] = [(); 2].map(|()| KeyPair::generate());
    let public = server_keys.public();
    let serving = serve(
        builder(Engine::Omq)
            .bind("tcp://127.0.0.1:*")
            .curve_server(CurveServer::new(server_keys).allow([])),
    )
    .await;
    let calling = builder(Engine::Omq).connect(&serving.local_endpoints()[0]);
    let calling =
        calling.curve_client(CurveClient::new(public).keys(unknown_keys)).build().unwrap();
    let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    let refused = lines.wait_for("ERROR", REFUSED).await;
    assert_eq!(refused["endpoint"], serving.local_endpoints()[0]);
    assert_eq!(refused["reason"], "the peer denied access: wrong credentials, or not allowed");
    // The key of the peer is logged in another thread.
    let failed = lines.wait_for("WARN", "handshakes of peers failed").await;
    assert!(failed["reason"].contains("CURVE"), "{failed:?}");
}

/// The number of lines does not grow with the number of peers.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn failed_handshakes_are_throttled() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (lines, _guard) = watch();
    let serving = serve(builder(Engine::Omq).bind("tcp://127.0.0.1:*")).await;
    let address = serving.local_endpoints()[0].trim_start_matches("tcp://").to_owned();
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: polywire.test\r\n\r\n").await.unwrap();
        // Until the server closes the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let line = lines.wait_for("WARN", "handshakes of peers failed").await;
    assert_eq!(line["count"], "1");
    assert!(lines.find("handshakes of peers failed").len() < 10);
}

/// The number of lines does not grow with the number of connections.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn short_connections_are_throttled() {
    use omq_tokio::{Options, Socket, SocketType};

    let (lines, _guard) = watch();
    let calling = builder(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
    let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    for _ in 0..50 {
        let peer = Socket::try_new(SocketType::Router, Options::default()).unwrap();
        peer.connect(calling.local_endpoints()[0].as_str()).await.unwrap();
        peer.wait_connected(1, PATIENCE).await.unwrap();
        peer.close().await.unwrap();
    }
    for (level, what) in [("INFO", "connected"), ("WARN", "connection lost")] {
        assert_eq!(lines.wait_for(level, what).await["count"], "1");
        assert!(lines.find(what).len() < 10, "{:?}", lines.find(what));
    }
}
