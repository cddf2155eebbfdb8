//! The count of deliveries that wait for their retries at the broker.

use std::sync::Arc;

use lapin::Channel;
use polywire_core::transport::DeadLetterSource;
use polywire_core::{ErrorKind, Result};

use crate::dead_letters::origin_of;
use crate::engine_error::failed;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native;

/// Returns the number of messages in the retry queues of `source` that this transport has used.
///
/// The count takes one of the channels that endpoint handles leave, and reserves none. A queue that
/// the broker has deleted is empty, and costs a further channel: the broker closes the one that
/// asks for the queue.
///
/// # Errors
///
/// Those of the channel; [`ErrorKind::Unsupported`] for a source without retries.
pub(crate) async fn count(shared: &Arc<AmqpShared>, source: &DeadLetterSource) -> Result<u64> {
    let (origin, _) = origin_of(&shared.config.queues, source)?;
    let used = &shared.declared_queues.used_retry_queues;
    let queues = used.of(&origin.name);
    if queues.is_empty() {
        return Ok(0);
    }
    let connection = &shared.consuming_connection;
    let (mut channel, mut waiting) = (connection.channel().await?, 0);
    for queue in queues {
        let found = match message_count(&queue, &channel).await {
            Err(error) if error.kind() == ErrorKind::Config => {
                channel = connection.channel().await?;
                0
            }
            found => found?,
        };
        if found == 0 {
            used.forget_idle(&origin.name, &queue.name);
        }
        waiting += u64::from(found);
    }
    let closed = channel.close(200, "done".into()).await;
    closed.map_err(|error| failed("cannot close the channel of a count", &error))?;
    Ok(waiting)
}

/// Returns the number of messages in a retry queue.
///
/// A queue whose name does not fit into the broker's error is declared first, since its absence
/// would end the connection.
async fn message_count(queue: &QueueSpec, channel: &Channel) -> Result<u32> {
    if !native::can_be_reported_missing(&queue.name) {
        queue.declare(channel).await?;
    }
    queue.message_count(channel).await
}
