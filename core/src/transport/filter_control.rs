//! Filters of open subscriptions.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::coop::consume_budget;

use crate::error::{Error, Result};
use crate::message::Filter;

/// Backend side of [`Filters`]: changes the filters of an open subscription.
///
/// Implementations carry the attribute [`async_trait`](macro@super::async_trait).
#[async_trait]
pub trait FilterControl: Send + Sync + 'static {
    /// Adds a filter.
    ///
    /// The subscriber receives every matching message that is published after the future has
    /// resolved. It may receive some that were published shortly before. If the future is dropped,
    /// the filter may be added or not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) if a publisher accepts no more, with
    /// the name of its bound.
    async fn add(&self, filter: Filter) -> Result<()>;

    /// Removes a filter of the subscription.
    ///
    /// Messages that are in transit may still arrive. If the future is dropped, the filter may be
    /// removed or not.
    async fn remove(&self, filter: Filter) -> Result<()>;
}

/// Filters of an open subscription. Clones change the same subscription.
#[derive(Clone)]
pub struct Filters(Arc<dyn FilterControl>);

impl Filters {
    /// Creates filters from their backend side.
    #[must_use]
    pub fn new(control: impl FilterControl) -> Self {
        Self(Arc::new(control))
    }

    /// Adds a filter; see [`FilterControl::add`]. In a group, the filter is added for all members.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if the filter is malformed.
    /// - [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the subscriber is closed.
    /// - Any error of the backend.
    pub async fn add(&self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Result<()> {
        consume_budget().await;
        self.0.add(filter.try_into().map_err(Into::into)?).await
    }

    /// Removes a filter; see [`FilterControl::remove`]. In a group, the filter is removed for all
    /// members.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn remove(&self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Result<()> {
        consume_budget().await;
        self.0.remove(filter.try_into().map_err(Into::into)?).await
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filters")
    }
}
