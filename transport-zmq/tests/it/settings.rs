//! Settings at the edges of their types: each works, or is refused where it is set.

#[path = "../../../core/tests/it/settings/extremes.rs"]
mod extremes;

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{
    Client, Error, ErrorKind, Filter, Limits, Publisher, Router, Server, Subscriber, Transport,
};
use polywire_zmq::proxy::{Pattern, Proxy, ProxyEndpoint};
use polywire_zmq::{Admission, Zmq, ZmqBuilder};

use self::extremes::{Extreme, Row, check_complete, row, try_all};

use crate::support::engine::{ENGINE, zmq};

/// The longest time of one use.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn extremes_of_each_setting_work_or_are_refused() {
    let rows: Vec<_> = [timings(), bounds(), options()].into_iter().flatten().collect();
    try_all(&rows, PATIENCE).await;
    check_complete("polywire_zmq", &["Admission"], &[], &rows);
}

/// Serves with these settings, calls a method that takes 10 ms, subscribes and publishes. An error
/// is fine if it names the setting, or if the value is small and means that there is no room.
async fn used(x: Extreme, bound: &str, builder: ZmqBuilder) -> Result<(), String> {
    match try_out(builder).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::Config && error.detail("bound") == Some(bound) => {
            Ok(())
        }
        Err(error) if x != Extreme::Most && NO_ROOM.contains(&error.kind()) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// The errors of a value that is too small for a message, or for the time that a peer takes.
const NO_ROOM: [ErrorKind; 3] =
    [ErrorKind::TooLarge, ErrorKind::Unroutable, ErrorKind::DeadlineExceeded];

async fn try_out(builder: ZmqBuilder) -> Result<(), Error> {
    let serving = builder.clone().bind("tcp://127.0.0.1:*").build()?;
    let router = Router::new(MessagePack).method("double", async |n: i64| {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(2 * n)
    });
    let server = Server::bind(&serving, "service").await?;
    let endpoint = serving.local_endpoints().remove(0);
    tokio::spawn(server.serve(router));
    let calling = builder.connect(endpoint).build()?;
    let client = Client::connect(&calling, "service", MessagePack).await?;
    let client = client.with_timeout(Duration::from_secs(5));
    for n in 0..3 {
        client.call::<i64>("double", &n).await.map_err(failure)?;
    }
    calling.close().await?;
    serving.close().await
}

async fn try_events(builder: ZmqBuilder) -> Result<(), Error> {
    let publishing = builder.clone().bind("tcp://127.0.0.1:*").build()?;
    let publisher = Publisher::connect(&publishing, "events", MessagePack).await?;
    let endpoint = publishing.local_endpoints().remove(0);
    let subscribing = builder.connect(endpoint).build()?;
    let mut events =
        Subscriber::<u8>::bind(&subscribing, "events", MessagePack).filter("a").await?;
    events.filters().add(Filter::new("b")?).await?;
    publisher.publish("b", &1).await?;
    let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
    event.map_err(|_| Error::new(ErrorKind::DeadlineExceeded, "no event"))?.transpose()?;
    subscribing.close().await?;
    publishing.close().await
}

fn failure(error: polywire_core::CallError) -> Error {
    match error {
        polywire_core::CallError::Failed(error) => error,
        polywire_core::CallError::DeadlineExceeded(_) => {
            Error::new(ErrorKind::DeadlineExceeded, "no reply")
        }
        other => Error::new(ErrorKind::Codec, other.to_string()),
    }
}

fn timings() -> Vec<Row> {
    vec![
        row("ZmqBuilder::connect_timeout", async |x| {
            let builder = zmq().connect_timeout(x.time());
            used(x, "connect_timeout", builder.clone()).await?;
            match try_events(builder).await {
                Err(error) if x == Extreme::Most => Err(format!("{error:?}")),
                _ => Ok(()),
            }
        }),
        row("ZmqBuilder::linger", async |x| used(x, "linger", zmq().linger(x.time())).await),
        row("ZmqBuilder::heartbeat", async |x| {
            used(x, "heartbeat", zmq().heartbeat(x.time())).await?;
            if zmq().bind("tcp://127.0.0.1:*").heartbeat(x.time()).build().is_ok() {
                return Err("a connection would be cut for a short pause".to_owned());
            }
            for edge in [Duration::from_millis(100), Duration::from_secs(60 * 60)] {
                try_out(zmq().heartbeat(edge)).await.map_err(|error| error.to_string())?;
            }
            Ok(())
        }),
    ]
}

fn admission(change: impl Fn(&mut Admission)) -> ZmqBuilder {
    let mut admission = Admission::default();
    change(&mut admission);
    zmq().admission(admission)
}

fn limits(change: impl Fn(&mut Limits)) -> ZmqBuilder {
    let mut limits = Limits::default();
    change(&mut limits);
    zmq().limits(limits)
}

fn bounds() -> Vec<Row> {
    vec![
        row("ZmqBuilder::peer_bytes_max", async |x| {
            used(x, "peer_bytes_max", zmq().peer_bytes_max(x.usize())).await
        }),
        row("Admission.handshake_timeout", async |x| {
            used(x, "handshake_timeout", admission(|it| it.handshake_timeout = x.time())).await
        }),
        row("Admission.pending_handshakes_max", async |x| {
            let builder = admission(|it| it.pending_handshakes_max = x.usize());
            used(x, "pending_handshakes_max", builder).await
        }),
        row("Admission.connections_max", async |x| {
            used(x, "connections_max", admission(|it| it.connections_max = x.usize())).await
        }),
        row("Admission.host_connections_max", async |x| {
            let builder = admission(|it| it.host_connections_max = x.usize());
            used(x, "host_connections_max", builder).await
        }),
        row("Admission.subscriptions_max", async |x| {
            used(x, "subscriptions_max", admission(|it| it.subscriptions_max = x.usize())).await
        }),
        row("Admission.message_max", async |x| {
            used(x, "message_max", admission(|it| it.message_max = Some(x.usize()))).await
        }),
        row("Limits.body_max", async |x| {
            used(x, "body_max", limits(|it| it.body_max = x.usize())).await
        }),
        row("Limits.frames_max", async |x| {
            used(x, "frames_max", limits(|it| it.frames_max = x.usize())).await
        }),
        row("Limits.headers_max", async |x| {
            used(x, "headers_max", limits(|it| it.headers_max = x.usize())).await
        }),
        row("Limits.header_bytes_max", async |x| {
            used(x, "header_bytes_max", limits(|it| it.header_bytes_max = x.usize())).await
        }),
        row("Proxy", async |x| {
            let admission = Admission { connections_max: x.usize(), ..Admission::default() };
            let side = || ProxyEndpoint::bind("tcp://127.0.0.1:*").admission(admission);
            match Proxy::start(Pattern::RequestReply, side(), side()).await {
                Ok(proxy) => {
                    proxy.stop().await;
                    Ok(())
                }
                Err(error) if error.detail("bound") == Some("connections_max") => Ok(()),
                Err(error) => Err(format!("{error:?}")),
            }
        }),
    ]
}

/// The options of the URL, which call the methods above.
fn options() -> Vec<Row> {
    let option = |name: &'static str, value: String| async move {
        match Zmq::connect(&format!("zmq+tcp://127.0.0.1:*?engine={ENGINE}&{name}={value}")).await {
            Ok(zmq) => zmq.close().await.map_err(|error| format!("{name}: {error:?}")),
            Err(error) if error.kind() == ErrorKind::Config => Ok(()),
            Err(error) => Err(format!("{name}: {error:?}")),
        }
    };
    vec![row("URL", move |x| async move {
        for name in ["connect_timeout_ms", "linger_ms", "heartbeat_ms", "handshake_timeout_ms"] {
            option(name, x.u64().to_string()).await?;
        }
        for name in [
            "peer_bytes_max",
            "body_max",
            "frames_max",
            "headers_max",
            "header_bytes_max",
            "pending_handshakes_max",
            "connections_max",
            "host_connections_max",
            "subscriptions_max",
            "message_max",
        ] {
            option(name, x.usize().to_string()).await?;
        }
        Ok(())
    })]
}
