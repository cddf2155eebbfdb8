//! Consumers: windows, settlement, redelivery, replies, cancellations.

pub(crate) mod acker;
pub(crate) mod cancellation;
pub(crate) mod consumer;
mod consumer_task;
mod decline;
mod deliveries;
mod fetched;
mod redelivery;
pub(crate) mod replies;
pub(crate) mod reply_mode;
pub(crate) mod republish_counter;
pub(crate) mod requeue_mode;
mod retry_delay;
mod settle;
pub(crate) mod source;
