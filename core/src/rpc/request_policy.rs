//! The policy of a server for requests that are late, duplicated, declined or cancelled.

use super::cancellations::Cancellations;
use super::reply_cache::ReplyCache;
use crate::message::{Deadline, Message};

/// The options of a server that decide about each request.
pub(super) struct RequestPolicy {
    /// Settles each request before it is run, and refuses a redelivered request.
    pub(super) is_at_most_once: bool,
    /// The number of deliveries after which a request counts as one that crashes its servers.
    pub(super) deliveries_max: Option<u32>,
    /// The replies to answer duplicates with, if the server deduplicates.
    pub(super) reply_cache: Option<ReplyCache>,
    /// The calls to cancel, if the transport reports callers that stop waiting.
    pub(super) cancellations: Option<Cancellations>,
    /// Leaves a declined request to the transport, which forwards it to another server.
    pub(super) forwards_declined: bool,
}

/// The decision about a received request.
pub(super) enum Admission {
    /// The request is run.
    Run,
    /// The deadline has passed: the request is dropped without a reply.
    Expired,
    /// The request was delivered too often: it is dead-lettered, and the caller gets a fault.
    DeliveredTooOften,
    /// The request may have been run before, and must run at most once: the caller gets a fault.
    MayHaveRun,
}

impl RequestPolicy {
    /// Decides about a received request.
    pub(super) fn admit(&self, message: &Message, attempt: u32) -> Admission {
        if message.deadline.is_some_and(Deadline::is_expired) {
            return Admission::Expired;
        }
        if self.deliveries_max.is_some_and(|max| attempt > max) {
            return Admission::DeliveredTooOften;
        }
        if self.is_at_most_once && attempt > 1 {
            return Admission::MayHaveRun;
        }
        Admission::Run
    }
}
