//! Declarations of queues, also for users that may not declare them.

use polywire_core::{ErrorKind, Result};

use crate::connection::supervised::SupervisedConnection;
use crate::topology::queue::QueueSpec;

/// Declares a queue on a channel of its own. For a user that may not declare the queue, the queue
/// has to exist, with any arguments. A queue that [may differ](QueueSpec::may_differ) is used as it
/// is, with a line in the log.
///
/// # Errors
///
/// Those of [`QueueSpec::declare`]; [`ErrorKind::Config`] for options that the broker's version
/// does not know; [`ErrorKind::Denied`] if the queue does not exist and the user may not declare
/// it.
pub(crate) async fn declare(connection: &SupervisedConnection, queue: &QueueSpec) -> Result<()> {
    let channel = connection.channel().await?;
    queue
        .options
        .check_version(connection.broker_version())
        .map_err(|error| error.with("queue", &queue.name))?;
    match queue.declare(&channel).await {
        // The broker has closed the channel of the refused declaration.
        Err(refused) if refused.kind() == ErrorKind::Denied => {
            match queue.exists(&connection.channel().await?).await {
                Ok(false) => Err(refused),
                found => found.map(drop),
            }
        }
        Err(differs) if queue.may_differ && differs.detail("argument").is_some() => {
            tracing::warn!(error = ?differs, queue = %queue.name, "the queue has other options than asked for; using it as it is");
            Ok(())
        }
        declared => declared,
    }
}
