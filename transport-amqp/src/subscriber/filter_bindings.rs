//! The filters of an open subscriber, which may change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use polywire_core::transport::{FilterControl, async_trait};
use polywire_core::{Error, ErrorKind, Filter, Result};
use tokio::time::timeout;

use super::event_queue::EventQueue;
use crate::connection::backoff::{PAUSE_MIN, pause};
use crate::shared::AmqpShared;

/// Filters of an open subscriber, as bindings at the broker.
///
/// The value keeps the transport alive, but not the subscriber: changes fail as closed after the
/// subscriber has stopped.
pub(super) struct Bindings {
    pub(super) shared: Arc<AmqpShared>,
    pub(super) event_queue: Arc<EventQueue>,
}

/// A change to the filters of a subscriber.
#[derive(Clone, Copy)]
enum FilterChange {
    Add,
    Remove,
}

#[async_trait]
impl FilterControl for Bindings {
    /// Binds the queue for the filter, in a group for all members. A filter that is there already
    /// stays.
    async fn add(&self, filter: Filter) -> Result<()> {
        self.change(FilterChange::Add, filter).await
    }

    /// Removes the binding, in a group for all members. The members note that in a
    /// [mark](crate::topology::filter_removal_mark::FilterRemovalMark), so that no check adds the
    /// binding again.
    async fn remove(&self, filter: Filter) -> Result<()> {
        self.change(FilterChange::Remove, filter).await
    }
}

impl Bindings {
    /// Applies a change within the connect timeout. If the future is dropped, the change may or may
    /// not have been applied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] after the connect timeout, [`ErrorKind::Closed`] on a closed
    /// subscriber or transport, and the broker's refusal. A queue or an exchange that is missing is
    /// waited for; after the connect timeout, that refusal is the error.
    async fn change(&self, change: FilterChange, filter: Filter) -> Result<()> {
        let limit = self.shared.config.connect_timeout;
        let mut latest = None;
        let changing = self.apply_with_retries(change, &filter, &mut latest);
        if let Ok(changed) = timeout(limit, changing).await {
            return changed;
        }
        if let Some(refusal) = latest.take_if(|error| error.kind() == ErrorKind::Config) {
            return Err(refusal);
        }
        let text =
            "cannot change the filters: the broker did not answer within the connect timeout";
        let error = Error::new(ErrorKind::Disconnected, text).with("filter", &filter);
        Err(match latest {
            Some(cause) => error.with_source(cause),
            None => error,
        })
    }

    /// Applies a change, and retries while the connection is lost or the queue is missing. `latest`
    /// is the error of the latest attempt.
    async fn apply_with_retries(
        &self,
        change: FilterChange,
        filter: &Filter,
        latest: &mut Option<Error>,
    ) -> Result<()> {
        loop {
            self.shared.tasks.check_open()?;
            if self.event_queue.is_closed.load(Ordering::Acquire) {
                let error = Error::new(
                    ErrorKind::Closed,
                    "cannot change the filters: the subscriber is closed",
                );
                return Err(error.unsent());
            }
            let connection = &self.shared.consuming_connection;
            match connection.unless_lost(self.apply(change, filter)).await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Config) =>
                {
                    tracing::debug!(?error, "cannot change the filters yet");
                    *latest = Some(error);
                }
                outcome => return outcome,
            }
            pause(PAUSE_MIN).await;
        }
    }

    /// Applies a change to the list and at the broker.
    ///
    /// The list is locked until the broker has answered, so that changes take effect in order.
    async fn apply(&self, change: FilterChange, filter: &Filter) -> Result<()> {
        let mut filters = self.event_queue.filters.lock().await;
        let connection = &self.shared.consuming_connection;
        match change {
            FilterChange::Add => {
                self.event_queue.add_binding(&connection.channel().await?, filter).await?;
                if !filters.contains(filter) {
                    filters.push(filter.clone());
                }
                Ok(())
            }
            FilterChange::Remove => {
                // Removed from the list first: if the broker cannot be reached now, the filter is
                // not bound to the next queue either.
                filters.retain(|other| other != filter);
                self.event_queue.note_removal(connection).await?;
                self.event_queue.remove_binding(&connection.channel().await?, filter).await
            }
        }
    }
}
