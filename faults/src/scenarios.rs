//! The scenarios, one file each.

pub(crate) mod alarm;
pub(crate) mod broker_kills;
pub(crate) mod certificates;
pub(crate) mod credentials;
pub(crate) mod delayed_retries;
pub(crate) mod failovers;
pub(crate) mod job_restarts;
pub(crate) mod links;
pub(crate) mod partitions;
pub(crate) mod poison;
pub(crate) mod redelivery;
pub(crate) mod reply_queue;
pub(crate) mod server_kills;
pub(crate) mod shop;
pub(crate) mod soak;
