//! Queues and exchanges at the broker: their names, options and declaration.

mod arguments;
pub(crate) mod declared;
pub(crate) mod exchange;
pub(crate) mod kind;
pub(crate) mod options;
pub(crate) mod queue;
pub(crate) mod settings;
mod validation;
