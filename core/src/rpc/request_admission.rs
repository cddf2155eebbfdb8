//! The policy of a server for requests that are late, duplicated, declined or cancelled.
//!
//! The requests that reach a draining server are refused by `refuse_delivery` in
//! `core/src/rpc/request_processor.rs`.

use super::cancellations::Cancellations;
use super::reply_cache::ReplyCache;
use crate::message::{Deadline, Message};
use crate::transport::Suspect;

/// The options of a server that decide about each request.
pub(super) struct RequestPolicy {
    /// Begins no request twice.
    pub(super) is_at_most_once: bool,
    /// The number of deliveries after which a request counts as one that crashes its servers. For
    /// suspects, [`DELIVERIES_MAX`] if not set.
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

/// The attempts at a request.
#[derive(Clone, Copy)]
pub(super) struct Attempts {
    /// The number of this attempt, without the crashes of a suspect.
    pub(super) recorded: u32,
    /// The number of this attempt, with the crashes of a suspect.
    pub(super) begun: u32,
    pub(super) suspect: Option<Suspect>,
}

/// The decision about a received request.
pub(super) enum AdmissionDecision {
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
    /// The request may have ended its server: it is requeued, and the backend isolates it.
    Isolate,
}

impl RequestPolicy {
    /// Returns whether this server, or the caller of the request, wants it to run at most once.
    pub(super) fn is_at_most_once(&self, request: &Message) -> bool {
        self.is_at_most_once || request.at_most_once
    }

    /// Decides about a received request.
    pub(super) fn admit(&self, message: &Message, attempts: Attempts) -> AdmissionDecision {
        let Attempts { recorded: attempt, suspect, .. } = attempts;
        // A one-way call must begin in time, and an earlier delivery may have begun.
        let is_redelivered = attempt > 1 || suspect.is_some();
        let may_have_begun = message.reply_to.is_none() && is_redelivered;
        if message.deadline.is_some_and(Deadline::is_expired) && !may_have_begun {
            let is_kept = message.keep_expired && self.dead_letters;
            return if is_kept {
                AdmissionDecision::KeptExpired
            } else {
                AdmissionDecision::Expired
            };
        }
        let max = self.deliveries_max;
        let is_delivered_too_often = match suspect {
            Some(suspect) => suspect.is_convicted(attempt, max.unwrap_or(DELIVERIES_MAX)),
            None => max.is_some_and(|max| attempt > max),
        };
        if is_delivered_too_often {
            return AdmissionDecision::DeliveredTooOften;
        }
        let is_at_most_once = || self.is_at_most_once(message);
        if may_have_begun && is_at_most_once() {
            return AdmissionDecision::MayHaveRun;
        }
        // One that runs at most once ends no other server, and its caller waits for the word.
        if suspect.is_some_and(|suspect| !suspect.is_isolated) && !is_at_most_once() {
            return AdmissionDecision::Isolate;
        }
        AdmissionDecision::Run
    }
}

/// The number of deliveries of a suspect by default, as many as the attempts of a job.
const DELIVERIES_MAX: u32 = 5;
