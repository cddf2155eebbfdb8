//! Queues and exchanges at the broker: their options and their declaration.
//!
//! [`queue_options`] is what users set; [`queue_options_validation`] checks it, and
//! [`queue_arguments`] turns it into the arguments of `queue.declare`. [`options_by_queue`] holds
//! the options of all queues of a transport, and makes a [`queue_spec`] from a name.
//! [`custom_topology`] are exchanges, queues and bindings of the program's own. The names
//! themselves are part of the wire format.
//!
//! Declarations go over the consuming connection, which no alarm blocks. The broker closes the
//! channel of a declaration that it refuses, so most declarations have a channel of their own.

pub(crate) mod argument_value;
pub(crate) mod custom_topology;
pub(crate) mod declare_custom_topology;
pub(crate) mod declare_exchange;
pub(crate) mod declare_queue;
pub(crate) mod declared_queues;
mod difference_log;
pub(crate) mod event_channel_exchanges;
pub(crate) mod event_queue_specs;
pub(crate) mod exchange_deletion_mark;
pub(crate) mod filter_removal_mark;
pub(crate) mod lost_exchange_notice;
pub(crate) mod options_by_queue;
mod queue_arguments;
pub(crate) mod queue_kind;
pub(crate) mod queue_options;
mod queue_options_validation;
pub(crate) mod queue_spec;
pub(crate) mod used_retry_queues;
