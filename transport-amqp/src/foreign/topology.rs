//! The queues and exchanges of a foreign layout, as data.

use polywire_core::{Address, Filter};

use crate::topology::custom_topology::Topology;

/// Exchange that an endpoint handle publishes to.
///
/// The handle declares the topology when it opens, and again when the exchange turns out to be
/// missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutExchange {
    /// Name of the exchange. The default exchange has an empty name.
    pub name: String,
    /// Declarations before the first message. Empty if other programs make the exchange.
    pub topology: Topology,
}

impl LayoutExchange {
    /// Creates an exchange that the handle declares by this topology.
    ///
    /// The name has at most 255 bytes. A longer one fails when a handle opens.
    pub fn new(name: impl Into<String>, topology: Topology) -> Self {
        Self { name: name.into(), topology }
    }
}

/// Queue that an endpoint handle consumes.
///
/// The handle declares the topology when it opens and after each lost channel. The declarations
/// have to be exactly those of the other programs of the queue, or the broker refuses them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutQueue {
    /// Name of the queue.
    pub name: String,
    /// Declarations of the queue, with its exchanges and bindings.
    pub topology: Topology,
    /// Set if only this handle consumes the queue, so that closing the handle deletes the queue.
    pub is_private: bool,
}

impl LayoutQueue {
    /// Creates a queue that the handle declares by this topology. Other consumers may share it.
    pub fn new(name: impl Into<String>, topology: Topology) -> Self {
        Self { name: name.into(), topology, is_private: false }
    }

    /// Marks the queue as one of this handle alone.
    #[must_use]
    pub fn private(self) -> Self {
        Self { is_private: true, ..self }
    }
}

/// The consumer of a queue of events, for which a layout names the queue.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EventConsumer<'a> {
    /// Channel of the events.
    pub channel: &'a Address,
    /// Filters of the topics; at least one.
    pub filters: &'a [Filter],
    /// Group, whose members share the queue. `None` for a subscriber with its own copy of each
    /// event.
    pub group: Option<&'a Address>,
    /// Set if the queue of the group collects events while the group has no member.
    pub is_durable: bool,
    /// Text that no other handle gets, in the form of a UUID: 36 characters in lower case.
    pub unique: &'a str,
}

impl<'a> EventConsumer<'a> {
    /// Describes a subscriber without a group, for a test of a layout.
    #[must_use]
    pub fn new(channel: &'a Address, filters: &'a [Filter], unique: &'a str) -> Self {
        Self { channel, filters, group: None, is_durable: false, unique }
    }

    /// Makes the subscriber a member of a group, durable or not.
    #[must_use]
    pub fn with_group(self, group: &'a Address, is_durable: bool) -> Self {
        Self { group: Some(group), is_durable, ..self }
    }
}
