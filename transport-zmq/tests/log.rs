//! What the log says to somebody who looks at it in the middle of the night.

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
use polywire_core::{Client, Router, Server, Transport};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const PATIENCE: Duration = Duration::from_secs(60);

type Fields = BTreeMap<&'static str, String>;

/// What this backend tells an operator, who does not look at the details.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Fields>>>);

impl<S: Subscriber> Layer<S> for Seen {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || !metadata.target().starts_with("polywire_zmq") {
            return;
        }
        let mut fields = Fields::from([("level", metadata.level().to_string())]);
        event.record(&mut Visitor(&mut fields));
        self.0.lock().unwrap().push(fields);
    }
}

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Seen {
    /// The lines that say this.
    fn said(&self, message: &str) -> Vec<Fields> {
        self.0.lock().unwrap().iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// Waits for a line that says this, and for its level.
    async fn hears(&self, level: &str, message: &str) -> Fields {
        let heard = async {
            loop {
                // The first one: what strangers cause is counted from then on.
                if let Some(line) = self.said(message).into_iter().next() {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let line =
            timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{message}: {:?}", self.0));
        assert_eq!(line["level"], level, "{line:?}");
        line
    }
}

/// Everything of this thread is seen while the guard lives.
fn watch() -> (Seen, tracing::subscriber::DefaultGuard) {
    static LISTENING: std::sync::Once = std::sync::Once::new();
    // Who comes first to a place that tells something says for all threads whether anybody listens.
    LISTENING.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap()
    });
    let seen = Seen::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(seen.clone()));
    (seen, guard)
}

fn builder(engine: Engine) -> ZmqBuilder {
    Zmq::builder().engine(engine).connect_timeout(PATIENCE)
}

/// Serves, as soon as that can be had.
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
async fn a_server_that_is_there_gone_and_back_is_told_with_its_endpoint() {
    for engine in [
        #[cfg(feature = "engine-omq")]
        Engine::Omq,
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq,
    ] {
        let (seen, _guard) = watch();
        let serving = serve(builder(engine).bind("tcp://127.0.0.1:*")).await;
        let endpoint = serving.local_endpoints()[0].clone();
        let calling = builder(engine).connect(&endpoint).build().unwrap();
        let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        client.call::<()>("m", &()).await.unwrap();
        assert_eq!(seen.hears("INFO", "connected").await["endpoint"], endpoint);
        assert_eq!(seen.said("connection lost"), []);

        serving.close().await.unwrap();
        drop(serving);
        let lost = seen.hears("WARN", "connection lost").await;
        assert_eq!((&*lost["endpoint"], &*lost["calls"]), (&*endpoint, "0"));
        if engine == Engine::Omq {
            assert!(lost["reason"].contains("PeerClosed"), "{lost:?}");
        }

        let _serving = serve(builder(engine).bind(&endpoint)).await;
        let back = seen.hears("INFO", "reconnected").await;
        assert_eq!(back["endpoint"], endpoint);
        assert!(back.contains_key("outage_s"), "{back:?}");
        assert_eq!(seen.said("connected").len(), 1);
        // What one does oneself is no warning.
        calling.close().await.unwrap();
        assert_eq!(seen.said("connection lost").len(), 1);
    }
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn servers_that_dial_their_caller_are_told_as_they_come_and_go() {
    let (seen, _guard) = watch();
    let calling = builder(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let serving = serve(builder(Engine::Omq).connect(&calling.local_endpoints()[0])).await;
    client.call::<()>("m", &()).await.unwrap();
    let came = seen.hears("INFO", "connected").await;
    serving.close().await.unwrap();
    assert_eq!(seen.hears("WARN", "connection lost").await["endpoint"], came["endpoint"]);
}

#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn who_is_not_let_in_is_told_on_both_sides() {
    use polywire_zmq::curve::{CurveClient as Keys, CurveServer as Gate, KeyPair};

    let (seen, _guard) = watch();
    let [gate, stranger] = [(); 2].map(|()| KeyPair::generate());
    let public = gate.public();
    let serving = serve(
        builder(Engine::Omq).bind("tcp://127.0.0.1:*").curve_server(Gate::new(gate).allow([])),
    )
    .await;
    let calling = builder(Engine::Omq).connect(&serving.local_endpoints()[0]);
    let calling = calling.curve_client(Keys::new(public).keys(stranger)).build().unwrap();
    let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    let refused =
        seen.hears("WARN", "the peer denied access: wrong credentials, or not allowed").await;
    assert_eq!(refused["endpoint"], serving.local_endpoints()[0]);
    // Who it is, the allow list tells in another thread.
    let failed = seen.hears("WARN", "handshakes of peers failed").await;
    assert!(failed["reason"].contains("CURVE"), "{failed:?}");
}

/// However many there are.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn strangers_that_fail_in_their_handshake_fill_no_log() {
    use tokio::io::AsyncWriteExt;

    let (seen, _guard) = watch();
    let serving = serve(builder(Engine::Omq).bind("tcp://127.0.0.1:*")).await;
    let address = serving.local_endpoints()[0].trim_start_matches("tcp://").to_owned();
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: polywire.test\r\n\r\n").await.unwrap();
        // Until it is hung up on.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await;
    }
    let told = seen.hears("WARN", "handshakes of peers failed").await;
    assert_eq!(told["count"], "1");
    assert!(seen.said("handshakes of peers failed").len() < 10);
}

/// However often they come and go.
#[cfg(feature = "engine-omq")]
#[tokio::test]
async fn peers_that_dial_and_are_gone_fill_no_log() {
    use omq_tokio::{Options, Socket, SocketType};

    let (seen, _guard) = watch();
    let calling = builder(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
    let _client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    for _ in 0..50 {
        let guest = Socket::try_new(SocketType::Router, Options::default()).unwrap();
        guest.connect(calling.local_endpoints()[0].as_str()).await.unwrap();
        guest.wait_connected(1, PATIENCE).await.unwrap();
        guest.close().await.unwrap();
    }
    for (level, what) in [("INFO", "connected"), ("WARN", "connection lost")] {
        assert_eq!(seen.hears(level, what).await["count"], "1");
        assert!(seen.said(what).len() < 10, "{:?}", seen.said(what));
    }
}
