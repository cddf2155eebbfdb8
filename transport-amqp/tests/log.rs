//! Log lines for operators, counted: a healthy life, and a user whose password is revoked.
//!
//! A program of its own: the log belongs to the whole process, since the engine logs on its own
//! threads. Each test starts a node, and so needs RabbitMQ.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

#[allow(dead_code, reason = "another program needs the rest")]
#[path = "broker/raw.rs"]
mod raw;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use polywire_amqp::{Amqp, ConnectionChange, Credentials, QueueOptions};
use polywire_codec::MessagePack;
use polywire_core::{Client, Code, Fault, Puller, Pusher, Router, Server, Transport, Worker};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

const PATIENCE: Duration = Duration::from_secs(120);

type Fields = BTreeMap<&'static str, String>;

/// The lines of all crates at level INFO or above, on all threads.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<Fields>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut FieldVisitor(&mut fields));
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    /// A line has the fields of its span, too.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let span = context.event_span(event);
        let mut fields = span
            .as_ref()
            .and_then(|span| span.extensions().get::<Fields>().cloned())
            .unwrap_or_default();
        fields.extend([("level", level.to_string()), ("target", target.to_owned())]);
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

/// The lines of the process since its begin.
static LINES: LazyLock<LogLines> = LazyLock::new(|| {
    let lines = LogLines::default();
    let log = tracing_subscriber::registry().with(LevelFilter::INFO).with(lines.clone());
    tracing::subscriber::set_global_default(log).unwrap();
    lines
});

/// One test at a time: the lines belong to the process.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Starts a node, and returns it with the lines, which are empty. `None` without RabbitMQ.
async fn begin(
    test: &str,
) -> Option<(Node, &'static LogLines, tokio::sync::MutexGuard<'static, ()>)> {
    if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
        let reason = "no broker; `cargo xtask test` starts one";
        let _ = writeln!(std::io::stderr(), "not run: {test}: {reason}");
        return None;
    }
    let turn = TURN.lock().await;
    let (node, lines) = (Node::start().unwrap(), &*LINES);
    lines.0.lock().unwrap().clear();
    Some((node, lines, turn))
}

impl LogLines {
    /// Returns the lines as "LEVEL target: message", sorted.
    fn summary(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let summary = lines.iter().map(|line| {
            let krate = line["target"].split("::").next().unwrap_or_default();
            let message = line.get("message").map_or("", String::as_str);
            format!("{} {krate}: {message}", line["level"])
        });
        let mut summary: Vec<_> = summary.collect();
        summary.sort();
        summary
    }

    /// Returns the lines of a level.
    fn of_level(&self, level: &str) -> Vec<Fields> {
        self.0.lock().unwrap().iter().filter(|line| line["level"] == level).cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_queue_that_is_never_used_are_a_warning() {
    let test = "options_of_a_queue_that_is_never_used_are_a_warning";
    let Some((node, lines, _turn)) = begin(test).await else { return };
    let options = || QueueOptions::new().message_ttl(Duration::from_secs(60));
    let builder = Amqp::builder(&node.url()).unwrap().service_queue("log", options());
    let builder = builder.job_queue("mails", options()).service_queue("lgo", options());
    let amqp = builder.build().await.unwrap();
    let client = serve(&amqp).await;
    assert_eq!(client.call::<u32>("double", &3).await.unwrap(), 6);
    amqp.close().await.unwrap();
    let warnings = lines.of_level("WARN");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], "options were set for queues that were never used");
    assert_eq!(warnings[0]["queues"], "polywire.jobs.mails, polywire.lgo");
}

async fn serve(amqp: &Amqp) -> Client<MessagePack> {
    let server = Server::bind(amqp, "log").await.unwrap();
    let router = Router::new(MessagePack).method("double", |n: u32| async move { Ok(2 * n) });
    tokio::spawn(server.serve(router));
    Client::connect(amqp, "log", MessagePack).timeout(PATIENCE).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_life_is_logged_without_a_word_of_the_engine() {
    let Some((node, lines, _turn)) = begin("healthy_life_is_logged").await else { return };
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let client = serve(&amqp).await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    // A call to a service that does not exist closes nothing, and is no line.
    let nobody = Client::connect(&amqp, "nobody", MessagePack).await.unwrap();
    nobody.call::<u32>("double", &2).await.unwrap_err();
    amqp.close().await.unwrap();
    drop((client, nobody, amqp));
    // The engine's thread ends with the connection, and logs until then.
    let ended =
        async { while node.ctl(&["list_connections", "name"]).unwrap().contains("127.0.0.1") {} };
    timeout(PATIENCE, ended).await.expect("the connections end");
    assert_eq!(
        lines.summary(),
        [
            "INFO polywire_amqp: connected",
            "INFO polywire_amqp: connected",
            "INFO polywire_core: draining",
            "INFO polywire_core: started",
            "INFO polywire_core: stopped",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_channels_and_refused_connections_are_no_lines_of_the_engine() {
    let Some((node, lines, _turn)) = begin("broken_channels_are_no_lines").await else { return };
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    node.ctl(&["set_permissions", "alice", "^$", ".*", ".*"]).unwrap();
    let url = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    let amqp = Amqp::connect(&url).await.unwrap();
    // The broker closes the channel.
    Pusher::connect(&amqp, "missing", MessagePack).await.unwrap_err();
    Amqp::connect(&url.replace("secret", "wrong")).await.unwrap_err();
    Amqp::connect("amqp://127.0.0.1:1").await.unwrap_err();
    amqp.close().await.unwrap();
    assert_eq!(lines.summary(), ["INFO polywire_amqp: connected"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_queue_is_named() {
    let Some((node, lines, _turn)) = begin("deleted_queue_is_named").await else { return };
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let client = serve(&amqp).await;
    node.ctl(&["delete_queue", "polywire.log"]).unwrap();
    let answered = async { while client.call::<u32>("double", &2).await.is_err() {} };
    timeout(PATIENCE, answered).await.expect("the server declares its queue again");
    amqp.close().await.unwrap();
    let warnings = lines.of_level("WARN");
    let [warning] = &*warnings else { panic!("{warnings:#?}") };
    assert_eq!(warning["queue"], "polywire.log");
    assert!(warning["cause"].contains("the queue was deleted"), "{warning:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_whose_message_ends_connections_is_one_error() {
    let Some((node, lines, _turn)) = begin("queue_whose_message_ends_connections").await else {
        return;
    };
    let amqp = Amqp::builder(&node.url()).unwrap().unchecked_headers(true).build().await.unwrap();
    let mut jobs = Puller::<u32>::bind(&amqp, "fatal", MessagePack).await.unwrap();
    let (queue, latin_1) = (b"polywire.jobs.fatal", raw::short(b"gr\xf6\xdfe"));
    let mut raw = raw::RawPublisher::connect(&node.url());
    raw.publish("", queue, raw::TYPE, &latin_1, b"\x01");
    let next = timeout(PATIENCE, jobs.next()).await.expect("the job is undecodable").unwrap();
    next.unwrap_err();
    amqp.close().await.unwrap();
    let errors = lines.of_level("ERROR");
    let [error] = &*errors else { panic!("{errors:#?}") };
    assert_eq!(error["message"], "a message of the queue ends the connections");
    assert_eq!((error["queue"].as_str(), error["ends"].as_str()), ("polywire.jobs.fatal", "3"));
    assert!(error["error"].contains("parse"), "{error:#?}");
    assert!(error["treatment"].contains("undecodable, without its headers"), "{error:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_password_is_one_error_for_each_state_of_the_transport() {
    let Some((node, lines, _turn)) = begin("revoked_password_is_one_error").await else { return };
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    node.ctl(&["set_permissions", "alice", ".*", ".*", ".*"]).unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let asked = attempts.clone();
    let amqp = Amqp::builder(&format!("amqp://127.0.0.1:{}", node.port()))
        .unwrap()
        .heartbeat(Duration::from_secs(1))
        .give_up_after(Duration::from_secs(8))
        .credentials(move || {
            asked.fetch_add(1, Ordering::Relaxed);
            async { Ok(Credentials::new("alice", "secret")) }
        })
        .build()
        .await
        .unwrap();
    let client = serve(&amqp).await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);

    node.ctl(&["change_password", "alice", "other"]).unwrap();
    let mut events = amqp.events();
    node.ctl(&["close_all_connections", "maintenance"]).unwrap();
    let given_up = async {
        let mut refused = 0;
        while refused < 2 {
            let event = events.next().await.expect("the transport is open");
            refused += usize::from(matches!(event.change, ConnectionChange::Refused(_)));
        }
    };
    timeout(PATIENCE, given_up).await.expect("both connections give up");
    // Two of them were accepted.
    let refused = attempts.load(Ordering::Relaxed) - 2;
    assert!(refused >= 8, "many attempts: {refused}");

    let errors = lines.of_level("ERROR");
    // One for both connections, and none of the server, which ends.
    let messages: Vec<_> = errors.iter().map(|line| &*line["message"]).collect();
    assert_eq!(
        messages,
        [
            "the broker refused the connection; retrying",
            "the broker refused for too long; no more reconnects",
        ]
    );
    let warnings = lines.of_level("WARN");
    assert!(warnings.len() <= 4, "{warnings:#?}");
    assert!(lines.0.lock().unwrap().iter().all(|line| line["target"].starts_with("polywire")));
    for error in &errors {
        assert!(error["error"].contains("the password was refused (user: alice)"), "{error:#?}");
    }
}

/// The broker has lowered its limit since it got the job.
#[tokio::test(flavor = "multi_thread")]
async fn lost_job_is_named() {
    let Some((node, lines, _turn)) = begin("lost_job_is_named").await else { return };
    let pushing = Amqp::connect(&node.url()).await.unwrap();
    let pusher = Pusher::connect(&pushing, "large", MessagePack).await.unwrap();
    let pusher = pusher.with_message_id("order-7").unwrap();
    pusher.push(&"x".repeat(2 << 20)).await.unwrap();
    pushing.close().await.unwrap();
    // Its own messages have not proved any size.
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    set_size_limit(&node, 1500000);
    let worker = Worker::bind(&amqp, "large", MessagePack).attempts(2).await.unwrap();
    let handle = worker.handle();
    let fail = async |_: String| Err::<(), _>(Fault::new(Code::Application, "no"));
    tokio::spawn(worker.work(fail));
    let discarded = async {
        while handle.stats().discarded == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, discarded).await.expect("the broker takes no copy");
    amqp.close().await.unwrap();
    let errors = lines.of_level("ERROR");
    for message in [
        "the broker takes no copy of the delivery; dead-lettering it",
        "the broker takes no copy of the delivery; discarded it",
        "failed for good: discarded",
    ] {
        let named: Vec<_> = errors.iter().filter(|line| line["message"] == message).collect();
        let [line] = &*named else { panic!("{message}: {errors:#?}") };
        let facts = (line["message_id"].as_str(), line["attempt"].as_str());
        assert_eq!(facts, ("order-7", "1"), "{line:#?}");
    }
}

/// Changes the size limit of a running node. Newer brokers read it from a persistent term.
fn set_size_limit(node: &Node, bytes: u32) {
    let set = format!(
        "application:set_env(rabbit, max_message_size, {bytes}), \
         persistent_term:put(max_message_size, {bytes})."
    );
    node.ctl(&["eval", &set]).unwrap();
}
