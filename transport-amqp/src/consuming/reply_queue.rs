//! The queue of replies: with a random name, or with the name that its client keeps.

use std::error::Error as StdError;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as Raw;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::{Error, ErrorKind, Result};
use tokio::task::coop::consume_budget;

use crate::config::Config;
use crate::consuming::acker::acknowledge;
use crate::engine_error::failed;
use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_spec::QueueSpec;
use crate::unique_number::unique;
use crate::wire::native;

/// Returns a reply queue with a new random name.
pub(super) fn random() -> QueueSpec {
    expiring(native::reply_queue(unique()))
}

/// Returns the reply queue of a client that keeps its name.
pub(super) fn named(config: &Config) -> Option<QueueSpec> {
    // The name was validated when the transport was built.
    let name = config.client_name.as_ref()?.as_ref().ok()?;
    native::named_reply_queue(name).ok().map(expiring)
}

/// Returns a classic queue that expires after 5 minutes without its consumer.
fn expiring(name: ShortString) -> QueueSpec {
    QueueSpec::expiring(name, QueueKind::Classic, EXPIRES)
}

/// Consumes a reply queue. The consumer of a named one is the only consumer.
///
/// The prefetch of 1,024 bounds the replies that the engine buffers.
///
/// # Errors
///
/// [`ErrorKind::Denied`] if another client has the name, besides those of the channel.
pub(super) async fn consume(
    channel: &Channel,
    queue: &QueueSpec,
    is_named: bool,
) -> Result<Consumer> {
    let name = &queue.name;
    let cannot = |error| failed("cannot consume the reply queue", &error).with("queue", name);
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(cannot)?;
    let options = BasicConsumeOptions { exclusive: is_named, ..BasicConsumeOptions::default() };
    // With the name as the tag, the filter in front of the engine finds the queue of a delivery.
    let tag = name.clone();
    let consuming = channel.basic_consume(name.clone(), tag, options, FieldTable::default());
    consuming.await.map_err(cannot).map_err(|error| match error.kind() {
        ErrorKind::Denied if is_named && is_in_use(&error) => {
            let text = "cannot use the client name: another client has it";
            Error::new(ErrorKind::Denied, text).with("queue", name).with_source(error)
        }
        _ => error,
    })
}

/// Returns whether another consumer has the queue. That may be a consumer of this client itself, on
/// a connection that the broker does not know to be lost.
pub(super) fn is_in_use(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("exclusive use") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Passes replies to `route` until the channel is lost, and acknowledges them in batches.
///
/// A batch ends when no further reply is ready, so a single reply is acknowledged at once. Replies
/// whose acknowledgement is lost with the channel arrive again.
pub(super) async fn receive(channel: &Channel, mut replies: Consumer, route: impl Fn(Raw)) {
    let mut next = replies.next().await;
    // The stream must not be polled after its end.
    while let Some(Ok(raw)) = next {
        // The engine's stream takes no part in the budget. The prefetch bounds the inner loop.
        consume_budget().await;
        let mut last = raw.delivery_tag;
        route(raw);
        next = loop {
            match replies.next().now_or_never() {
                Some(Some(Ok(raw))) => {
                    last = raw.delivery_tag;
                    route(raw);
                }
                Some(ended) => break ended,
                None => {
                    acknowledge(channel, last, true);
                    break replies.next().await;
                }
            }
        };
    }
    tracing::debug!(?next, "the channel of replies has ended");
}

/// Expiry of a reply queue without its consumer.
const EXPIRES: Duration = Duration::from_mins(5);
/// Prefetch: replies that the broker sends before the first of them is acknowledged.
const PREFETCH: u16 = 1024;
