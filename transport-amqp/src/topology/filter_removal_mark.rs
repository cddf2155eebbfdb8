//! Marks by which the members of a group know that one of them has removed a filter.
//!
//! The bindings of a group belong to all its members, and the broker cannot list them. A member
//! that adds its bindings again would bring back what another member has removed on purpose. So the
//! first removal is marked: with an exchange that the broker deletes together with the queue of the
//! group. It is auto-delete, and its only binding is that of the queue. No message goes through it.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{FieldTable, ShortString};
use polywire_core::{ErrorKind, Result};

use super::declare_exchange;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::failed;
use crate::wire::native;

/// The mark of one group.
///
/// The mark is never removed by a subscriber. The broker deletes the mark with the queue, which was
/// its only binding.
pub(crate) struct FilterRemovalMark {
    queue: ShortString,
    /// `None` if the name of the queue leaves no room for the name of the mark.
    name: Option<ShortString>,
}

impl FilterRemovalMark {
    /// Returns the mark of the group with this queue. Nothing is declared yet.
    pub(crate) fn new(queue: ShortString) -> Self {
        Self { name: native::removal_mark(&queue).ok(), queue }
    }

    /// Returns whether a member has removed a filter. Returns true if that cannot be known.
    pub(crate) async fn is_set(&self, connection: &SupervisedConnection) -> Result<bool> {
        match &self.name {
            Some(name) => declare_exchange::exists(connection, name).await,
            None => Ok(true),
        }
    }

    /// Marks the group, whose queue exists.
    ///
    /// # Errors
    ///
    /// Those of opening a channel. It is no error if the user may not set the mark.
    pub(crate) async fn set(&self, connection: &SupervisedConnection) -> Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let options = ExchangeDeclareOptions {
            durable: true,
            auto_delete: true,
            ..ExchangeDeclareOptions::default()
        };
        let marked = match declare_exchange::declare_with(connection, name, options).await {
            Ok(()) => self.bind(connection, name).await,
            refused => refused,
        };
        match marked {
            // `Config` if another kind of exchange has the name, or the queue is gone.
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Config) => {
                tracing::warn!(?error, queue = %self.queue, "other members of the group may add the removed filter again");
                Ok(())
            }
            marked => marked,
        }
    }

    /// Binds the queue of the group to the mark.
    async fn bind(&self, connection: &SupervisedConnection, name: &ShortString) -> Result<()> {
        let channel = connection.channel().await?;
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let (queue, key) = (self.queue.clone(), ShortString::default());
        let bound = channel.queue_bind(queue, name.clone(), key, options, arguments).await;
        bound.map_err(|error| failed("cannot mark the group", &error).with("queue", &self.queue))
    }
}
