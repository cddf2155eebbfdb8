//! Overflow policies of subscribers.

/// Policy for an event that arrives while a subscriber already holds a full window of events.
///
/// The events of a group always wait for its members; a group with any policy but
/// [`Wait`](Self::Wait) is a configuration error.
/// [`Subscriber::dropped`](crate::Subscriber::dropped) counts dropped events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The event waits in the broker's queue or at the publisher, which then waits, too. No event
    /// is dropped. This is the default.
    #[default]
    Wait,
    /// The oldest held event is dropped, for subscribers that need the latest events.
    DropOldest,
    /// The arriving event is dropped, for subscribers that need an unbroken beginning.
    DropNewest,
    /// The subscription ends with [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) after the
    /// held events, for subscribers that must not miss an event unnoticed.
    Disconnect,
}
