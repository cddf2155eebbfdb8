//! What a subscriber asks for, and how it changes its mind.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::Window;
use crate::error::{Error, Result};
use crate::message::{Address, Filter};

/// What a subscribing end asks of its backend.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subscription {
    /// Which topics it wants: those that match any of these.
    pub filters: Vec<Filter>,
    /// With whom it shares. The default is nobody: it gets its own copy of everything.
    pub group: Option<Group>,
    /// How many messages it holds unsettled.
    pub window: Window,
}

impl Subscription {
    /// A subscription of its own to these topics, with the default window.
    #[must_use]
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self { filters: filters.into_iter().collect(), group: None, window: Window::default() }
    }

    /// Shares with the others of this group.
    #[must_use]
    pub fn group(self, group: Group) -> Self {
        Self { group: Some(group), ..self }
    }

    /// Sets the window.
    #[must_use]
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }
}

/// Subscribers that share: each message goes to one of them, and has to be settled.
///
/// The filters of a group are those of all its members together, and members are meant to have the
/// same. A filter that one adds is the group's, until somebody drops it.
///
/// ```
/// use polywire_core::Group;
///
/// let group = Group::new("billing")?.durable();
/// assert!(group.is_durable());
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    name: Address,
    durable: bool,
}

impl Group {
    /// The group of this name, which is gone when its last member is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `name` is not an address.
    pub fn new(name: impl TryInto<Address, Error: Into<Error>>) -> Result<Self> {
        Ok(Self { name: name.try_into().map_err(Into::into)?, durable: false })
    }

    /// Lets the group collect what is published while none of its members is there.
    #[must_use]
    pub fn durable(self) -> Self {
        Self { durable: true, ..self }
    }

    /// The name of the group.
    #[must_use]
    pub fn name(&self) -> &Address {
        &self.name
    }

    /// Whether it collects while none of its members is there.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable
    }
}

/// What a backend implements to let a subscriber change its filters while it runs.
#[async_trait]
pub trait FilterControl: Send + Sync + 'static {
    /// Adds a filter. What matches it and is published after the future has resolved is not missed;
    /// of what was published shortly before, some may come.
    async fn add(&self, filter: Filter) -> Result<()>;

    /// Drops a filter that is among them. What is on its way may still come.
    async fn remove(&self, filter: Filter) -> Result<()>;
}

/// The filters of an open subscription. Clones are those of the same subscription.
#[derive(Clone)]
pub struct Filters(Arc<dyn FilterControl>);

impl Filters {
    /// The filters that `interest` keeps.
    #[must_use]
    pub fn new(interest: impl FilterControl) -> Self {
        Self(Arc::new(interest))
    }

    /// Adds a filter; see [`FilterControl::add`]. Dropping the future leaves it open whether it was
    /// added.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if it is malformed, or what the backend
    /// says: [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the end is.
    pub async fn add(&self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Result<()> {
        self.0.add(filter.try_into().map_err(Into::into)?).await
    }

    /// Drops a filter; see [`FilterControl::remove`]. Of a group, it is dropped for all members.
    /// Dropping the future leaves it open whether it was dropped.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn remove(&self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Result<()> {
        self.0.remove(filter.try_into().map_err(Into::into)?).await
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filters")
    }
}
