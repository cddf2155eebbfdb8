//! Settings at the edges of their types: each works, or is refused where it is set.

#[path = "../../../core/tests/it/settings/extremes.rs"]
mod extremes;

use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{AmqpBuilder, QueueKind, QueueOptions, QueueOverflow};
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, Error, ErrorKind, Limits, Router, Server, Transport};

use self::extremes::{Extreme, Row, check_complete, row, try_all};
use crate::endpoints::builder;

pub(crate) fn trials() -> Vec<Trial> {
    trials![broker extremes_of_each_setting_work_or_are_refused]
}

/// The longest time of one use.
const PATIENCE: Duration = Duration::from_secs(20);

async fn extremes_of_each_setting_work_or_are_refused(url: String) {
    let rows: Vec<_> =
        [transport(&url), queues(&url), parameters(&url)].into_iter().flatten().collect();
    try_all(&rows, PATIENCE).await;
    check_complete("polywire_amqp", &[], &[], &rows);
}

/// Calls a method. A refusal that names the setting is fine, and so is a value that is too small
/// for any message.
async fn used(
    x: Extreme,
    setting: &str,
    service: &str,
    builder: AmqpBuilder,
) -> Result<(), String> {
    match call(service, builder).await {
        Ok(()) => Ok(()),
        Err(error)
            if error.kind() == ErrorKind::Config && error.detail("setting") == Some(setting) =>
        {
            Ok(())
        }
        Err(error) if x != Extreme::Most && NO_ROOM.contains(&error.kind()) => Ok(()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// The errors of a value that is too small for a message, or for the time that a broker takes.
const NO_ROOM: [ErrorKind; 5] = [
    ErrorKind::TooLarge,
    ErrorKind::Unroutable,
    ErrorKind::DeadlineExceeded,
    ErrorKind::Overloaded,
    ErrorKind::Disconnected,
];

async fn call(service: &str, builder: AmqpBuilder) -> Result<(), Error> {
    let amqp = builder.build().await?;
    let router = Router::new(MessagePack).method("double", async |n: i64| Ok(2 * n));
    tokio::spawn(Server::bind(&amqp, service).await?.serve(router));
    let client = Client::connect(&amqp, service, MessagePack).await?;
    let client = client.with_timeout(Duration::from_secs(5));
    let outcome = client.call::<i64>("double", &1).await;
    amqp.close().await?;
    match outcome {
        Ok(_) => Ok(()),
        Err(CallError::Failed(error)) => Err(error),
        Err(CallError::DeadlineExceeded(_)) => {
            Err(Error::new(ErrorKind::DeadlineExceeded, "no reply"))
        }
        Err(other) => Err(Error::new(ErrorKind::Codec, other.to_string())),
    }
}

/// Returns a row that changes a builder by a function of the extreme.
fn changed(
    url: &str,
    name: &'static str,
    change: impl Fn(AmqpBuilder, Extreme) -> AmqpBuilder + 'static,
) -> Row {
    let url = url.to_owned();
    let setting = name.rsplit([':', '.']).next().unwrap_or(name);
    row(name, move |x| {
        let builder = change(builder(&url), x);
        let service = format!("extremes.{}.{x:?}", name.replace("::", "."));
        async move { used(x, setting, &service, builder).await }
    })
}

fn transport(url: &str) -> Vec<Row> {
    vec![
        changed(url, "AmqpBuilder::confirm_timeout", |it, x| it.confirm_timeout(x.time())),
        changed(url, "AmqpBuilder::connect_timeout", |it, x| it.connect_timeout(x.time())),
        changed(url, "AmqpBuilder::give_up_after", |it, x| it.give_up_after(x.time())),
        changed(url, "AmqpBuilder::topology_check", |it, x| it.topology_check(x.time())),
        changed(url, "AmqpBuilder::retry_queue_expiry", |it, x| it.retry_queue_expiry(x.time())),
        changed(url, "AmqpBuilder::heartbeat", |it, x| it.heartbeat(x.time())),
        changed(url, "AmqpBuilder::publish_buffer", |it, x| {
            it.publish_buffer(x.usize(), x.usize())
        }),
        changed(url, "AmqpBuilder::unconfirmed_max", |it, x| {
            it.unconfirmed_max(x.usize(), x.usize())
        }),
        changed(url, "Limits.body_max", |it, x| {
            it.limits(Limits { body_max: x.usize(), ..Limits::default() })
        }),
        changed(url, "Limits.frames_max", |it, x| {
            it.limits(Limits { frames_max: x.usize(), ..Limits::default() })
        }),
        changed(url, "Limits.headers_max", |it, x| {
            it.limits(Limits { headers_max: x.usize(), ..Limits::default() })
        }),
        changed(url, "Limits.header_bytes_max", |it, x| {
            it.limits(Limits { header_bytes_max: x.usize(), ..Limits::default() })
        }),
    ]
}

/// Returns a row for an option of the queue. The queue expires soon after the test.
fn queue(
    url: &str,
    name: &'static str,
    change: impl Fn(QueueOptions, Extreme) -> QueueOptions + 'static,
) -> Row {
    changed(url, name, move |builder, x| {
        let short_lived = QueueOptions::new().expires(Duration::from_secs(10));
        builder.queue_options(change(short_lived, x))
    })
}

fn queues(url: &str) -> Vec<Row> {
    vec![
        queue(url, "QueueOptions::bytes", |it, x| it.bytes(x.u64(), QueueOverflow::Reject)),
        queue(url, "QueueOptions::length", |it, x| it.length(x.u64(), QueueOverflow::DropOldest)),
        queue(url, "QueueOptions::dead_letters_max", |it, x| it.dead_letters_max(x.u64())),
        queue(url, "QueueOptions::delivery_limit", |it, x| {
            it.kind(QueueKind::Quorum).delivery_limit(x.u32())
        }),
        queue(url, "QueueOptions::expires", |it, x| it.expires(x.time())),
        queue(url, "QueueOptions::message_ttl", |it, x| it.message_ttl(x.time())),
        queue(url, "QueueOptions::priorities", |it, x| it.priorities(x.u8())),
    ]
}

fn parameters(url: &str) -> Vec<Row> {
    let url = url.to_owned();
    vec![row("URL", move |x| {
        let url = url.clone();
        async move {
            let mark = if url.contains('?') { '&' } else { '?' };
            for (name, value) in [
                ("heartbeat", u64::from(u16::try_from(x.u64()).unwrap_or(u16::MAX))),
                ("connection_timeout", x.u64()),
                ("frame_max", x.u32().into()),
                ("channel_max", u64::from(u16::try_from(x.u64()).unwrap_or(u16::MAX))),
                ("held_messages", x.u64()),
                ("held_bytes", x.u64()),
                ("unconfirmed_messages", x.u64()),
                ("unconfirmed_bytes", x.u64()),
            ] {
                let url = format!("{url}{mark}{name}={value}");
                let service = format!("extremes.url.{name}.{x:?}");
                // RabbitMQ's name for the parameter, and ours for the setting.
                let setting = if name == "connection_timeout" { "connect_timeout" } else { name };
                let used = used(x, setting, &service, builder(&url)).await;
                used.map_err(|error| format!("{name}: {error}"))?;
            }
            Ok(())
        }
    })]
}
