//! Consumers: windows, settlement, redelivery, replies, cancellations.
//!
//! The way of a delivery through the files:
//!
//! 1. [`consumer`] opens the receiving half of an endpoint handle; [`consumer_source`] is the part
//!    that depends on the handle: queue, bindings, codec.
//! 2. [`consumer_task`] consumes the queue and its suspects by an [`active_consumer`], decodes each
//!    delivery into a [`buffered_delivery`] one, and buffers up to a window of them.
//!    [`delivery_stream`] is the stream that the handle polls.
//! 3. [`acker`] settles at the broker: acknowledge, reject, requeue. [`republishing_settle`] is the
//!    receipt of a delivery that may have to be republished, by the [`requeue_mode`] of its queue.
//! 4. [`republisher`] republishes: to the same queue, to a retry queue after a delay
//!    ([`delay_rounding`]), or to the dead-letter queue. [`declined_requests`] does so for declined
//!    requests, and [`pending_republishes`] counts the copies, for which closing waits.
//!
//! [`canary_sender`] sends canaries to the queue of a consumer, which its [`delivery_stream`]
//! receives.
//!
//! [`replies`] consumes the replies of all requesters, by [`reply_mode`]. [`cancellation`] carries
//! the calls that clients have abandoned.
//!
//! # Tasks and bounds
//!
//! - A receiving half has one consumer task, which ends when the half stops. The buffer between
//!   them holds a window of deliveries and one suspect.
//! - Each copy of a delivery has a task of its own until the confirm. The window bounds these
//!   tasks, since the original stays unsettled meanwhile.
//! - A transport has one task for all replies, unless they are direct, and one for the
//!   cancellations that it sends.
//! - A responder has one task that listens to its clients.

pub(crate) mod acker;
mod active_consumer;
mod buffered_delivery;
mod canary_sender;
pub(crate) mod cancellation;
mod consume_log;
pub(crate) mod consumer;
pub(crate) mod consumer_source;
mod consumer_task;
mod control_queue;
mod dead_letter_copy;
mod declined_requests;
mod delay_rounding;
mod delivery_intake;
mod delivery_stream;
pub(crate) mod pending_republishes;
pub(crate) mod replies;
pub(crate) mod reply_mode;
mod reply_queue;
mod republisher;
mod republishing_settle;
pub(crate) mod requeue_mode;
