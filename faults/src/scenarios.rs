//! What goes wrong, one file each.

pub(crate) mod alarm;
pub(crate) mod broker_kills;
pub(crate) mod links;
pub(crate) mod reply_queue;
pub(crate) mod server_kills;
