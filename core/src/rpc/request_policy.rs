//! The policy of a server for requests that are late, duplicated, declined or cancelled.

use super::cancellations::Cancellations;
use super::reply_cache::ReplyCache;
use crate::message::{Deadline, Message};
use crate::transport::Delivery;

/// The options of a server that decide about each request.
pub(super) struct RequestPolicy {
    /// Begins no request twice.
    pub(super) is_at_most_once: bool,
    /// The number of deliveries after which a request counts as one that crashes its servers.
    pub(super) deliveries_max: Option<u32>,
    /// The replies to answer duplicates with, if the server deduplicates.
    pub(super) reply_cache: Option<ReplyCache>,
    /// The calls to cancel, if the transport reports callers that stop waiting.
    pub(super) cancellations: Option<Cancellations>,
    /// Leaves a declined request to the transport, which forwards it to another server.
    pub(super) forwards_declined: bool,
    /// Set if the transport has dead letters.
    pub(super) dead_letters: bool,
}

/// The decision about a received request.
pub(super) enum Admission {
    /// The request is run.
    Run,
    /// The deadline has passed: the request is dropped without a reply.
    Expired,
    /// The deadline of a one-way call has passed that asks to be dead-lettered.
    KeptExpired,
    /// The request was delivered too often: it is dead-lettered, and the caller gets a fault.
    DeliveredTooOften,
    /// The one-way request may have been run before, and must run at most once: it is dropped.
    MayHaveRun,
}

impl RequestPolicy {
    /// Returns whether this server, or the caller of the request, wants it to run at most once.
    pub(super) fn is_at_most_once(&self, request: &Message) -> bool {
        self.is_at_most_once || request.at_most_once
    }

    /// Decides about a received request.
    pub(super) fn admit(&self, delivery: &Delivery) -> Admission {
        if delivery.message.deadline.is_some_and(Deadline::is_expired) {
            let is_kept = delivery.message.keep_expired && self.dead_letters;
            return if is_kept { Admission::KeptExpired } else { Admission::Expired };
        }
        if self.deliveries_max.is_some_and(|max| delivery.attempt > max) {
            return Admission::DeliveredTooOften;
        }
        let is_one_way = delivery.message.reply_to.is_none();
        if is_one_way && delivery.attempt > 1 && self.is_at_most_once(&delivery.message) {
            return Admission::MayHaveRun;
        }
        Admission::Run
    }
}
