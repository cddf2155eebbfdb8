//! The log of the engine while another target is logged at `trace`, as the wire log is.
//!
//! A program of its own: the log belongs to the whole process, since the engine logs on its own
//! threads. The test starts a node, and so needs RabbitMQ.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is a failure")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{Pusher, Transport};
use polywire_rabbitmq_node::Node;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The levels and targets of the lines on all threads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, &'static str)>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        self.0.lock().unwrap().push((*metadata.level(), metadata.target()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wire_log_at_trace_brings_no_lines_of_the_engine() {
    if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
        let line = "not run: wire_log_at_trace_brings_no_lines_of_the_engine: no broker; \
                    `cargo xtask test` starts one";
        let _ = writeln!(std::io::stderr(), "{line}");
        return;
    }
    let node = Node::start().unwrap();
    let lines = Lines::default();
    let filter =
        Targets::new().with_default(Level::INFO).with_target("polywire::wire", Level::TRACE);
    let log = tracing_subscriber::registry().with(filter).with(lines.clone());
    tracing::subscriber::set_global_default(log).unwrap();

    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    node.ctl(&["set_permissions", "alice", "^$", ".*", ".*"]).unwrap();
    let url = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    let amqp = Amqp::connect(&url).await.unwrap();
    // The broker closes the channel, which the engine logs as an error.
    Pusher::connect(&amqp, "missing", MessagePack).await.unwrap_err();
    Amqp::connect(&url.replace("secret", "wrong")).await.unwrap_err();
    amqp.close().await.unwrap();

    let lines = lines.0.lock().unwrap();
    assert!(lines.iter().any(|(_, target)| target.starts_with("polywire_amqp")), "{lines:?}");
    assert!(lines.iter().all(|(_, target)| target.starts_with("polywire")), "{lines:?}");
}
