//! Services: async functions from a [`Request`] to a [`Reply`].
//!
//! Servers run services and clients call services, so that middleware fits on both sides. Most
//! programs write none by hand: a [`Router`](crate::Router) is a service, and
//! [`service_fn`] turns a closure into one.

mod at_most_once_gate;
mod begin_questions;
mod call_facts;
mod reply;
mod request;
mod sent_signal;
mod server_reply_slot;
#[expect(clippy::module_inception, reason = "named after its main type")]
mod service;
mod validated;

pub(crate) use self::at_most_once_gate::{AtMostOnceGate, ReturnReceipt};
pub(crate) use self::begin_questions::BeginQuestions;
pub(crate) use self::call_facts::CallFacts;
pub use self::reply::Reply;
pub use self::request::Request;
pub(crate) use self::sent_signal::SentSignal;
pub(crate) use self::server_reply_slot::{EncodeReply, ReplySlot, SlotServer};
pub use self::service::{Service, ServiceFn, service_fn};
pub use self::validated::{Valid, Validate};
