//! Options of a subscriber, and groups of subscribers.

use super::Window;
use crate::error::{Error, Result};
use crate::message::{Address, Filter};

/// Options of a subscriber, as a backend receives them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Subscription {
    /// Topic filters. A message is delivered if any of them matches.
    pub filters: Vec<Filter>,
    /// Group to join. The default is `None`: the subscriber receives its own copy of each message.
    pub group: Option<Group>,
    /// Maximum number of unsettled deliveries. The default is 128.
    pub window: Window,
}

impl Subscription {
    /// Creates a subscription without a group and with the default window.
    #[must_use]
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Self {
        Self { filters: filters.into_iter().collect(), group: None, window: Window::default() }
    }

    /// Sets the group.
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

/// Group of subscribers: each message goes to one member, which has to settle the message.
///
/// A group has one set of filters: those of all its members together. All members should use the
/// same filters. A filter that one member adds stays until a member removes it.
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
    /// Creates a group with this name. The group ends with its last member, unless it is
    /// [durable](Self::durable).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `name` is not an address.
    pub fn new(name: impl TryInto<Address, Error: Into<Error>>) -> Result<Self> {
        Ok(Self { name: name.try_into().map_err(Into::into)?, durable: false })
    }

    /// Makes the group durable: it collects messages while it has no member.
    #[must_use]
    pub fn durable(self) -> Self {
        Self { durable: true, ..self }
    }

    /// Returns the name of the group.
    #[must_use]
    pub fn name(&self) -> &Address {
        &self.name
    }

    /// Returns whether the group is durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.durable
    }
}
