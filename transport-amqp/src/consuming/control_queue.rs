//! The private queue of a server or of a canary's sender, to which its peers send.

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::topology::queue_spec::UNCONSUMED_MS;
use crate::unique_number::unique;

/// Declares a queue for at most `length_max` messages, if there is a bound, and returns its name.
/// The queue is deleted with its consumer.
///
/// Each queue has a new name: the broker keeps an exclusive queue until it notices that the
/// connection is dead.
///
/// A queue that is never consumed expires after 10 seconds. Beyond `length_max`, the broker drops
/// the oldest messages.
pub(super) async fn declare(
    channel: &Channel,
    length_max: Option<usize>,
) -> Result<ShortString, lapin::Error> {
    let name = ShortString::from(format!("polywire.control..{:032x}", unique()));
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let mut bounds = FieldTable::default();
    bounds.insert("x-expires".into(), AMQPValue::LongInt(UNCONSUMED_MS));
    if let Some(length_max) = length_max {
        let length_max = i32::try_from(length_max).unwrap_or(i32::MAX);
        bounds.insert("x-max-length".into(), AMQPValue::LongInt(length_max));
    }
    channel.queue_declare(name.clone(), options, bounds).await?;
    Ok(name)
}
