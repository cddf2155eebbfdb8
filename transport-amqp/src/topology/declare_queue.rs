//! Declarations of queues, also for users that may not declare them.

use polywire_core::{ErrorKind, Result};

use crate::connection::supervised_connection::SupervisedConnection;
use crate::topology::declare_custom_topology;
use crate::topology::queue_spec::QueueSpec;

/// Declares a queue on a channel of its own. For a user that may not declare the queue, the queue
/// has to exist, with any arguments. A queue that [may differ](QueueSpec::difference_log) is used
/// as it is, with a line in the log.
///
/// # Errors
///
/// Those of [`QueueSpec::declare`]; [`ErrorKind::Config`] for options that the broker's version
/// does not know; [`ErrorKind::Denied`] if the queue does not exist and the user may not declare
/// it.
pub(crate) async fn declare(connection: &SupervisedConnection, queue: &QueueSpec) -> Result<()> {
    if let Some(topology) = &queue.declared_by {
        return declare_custom_topology::declare(connection, topology).await;
    }
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
        Err(differs) if queue.difference_log.is_some() && differs.detail("argument").is_some() => {
            if let Some(log) = &queue.difference_log {
                log.differs(&queue.name, &differs);
            }
            Ok(())
        }
        declared => {
            if let (Ok(()), Some(log)) = (&declared, &queue.difference_log) {
                log.agrees();
            }
            declared
        }
    }
}
