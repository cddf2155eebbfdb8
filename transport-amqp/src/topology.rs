//! Queues and exchanges at the broker: their options and their declaration.
//!
//! [`queue_options`] is what users set; [`validation`] checks it, and [`arguments`] turns it into
//! the arguments of `queue.declare`. [`options_by_queue`] holds the options of all queues of a
//! transport, and makes a [`queue`] from a name. [`own`] are exchanges, queues and bindings of the
//! program's own. The names themselves are part of the wire format.
//!
//! Declarations go over the consuming connection, which no alarm blocks. The broker closes the
//! channel of a declaration that it refuses, so most declarations have a channel of their own.

pub(crate) mod argument_value;
mod arguments;
pub(crate) mod declare_exchange;
pub(crate) mod declare_queue;
pub(crate) mod declared;
pub(crate) mod event_exchange_names;
pub(crate) mod event_queues;
pub(crate) mod exchange_mark;
pub(crate) mod lost_exchange;
pub(crate) mod options_by_queue;
pub(crate) mod own;
pub(crate) mod own_declaration;
pub(crate) mod queue;
pub(crate) mod queue_kind;
pub(crate) mod queue_options;
pub(crate) mod removal_mark;
mod validation;
