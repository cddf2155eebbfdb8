//! The processing of a server's requests: admit, run, reply, settle.

use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::call_key::call_key;
use super::cancellations::Stopped;
use super::failed_request_log::FailedRequestLog;
use super::outcome_to_message::into_message;
use super::reply_cache::ReplyCache;
use super::reply_sender::ReplySender;
use super::request_admission::{AdmissionDecision, Attempts, RequestPolicy};
use super::server_stats::ServerCounters;
use crate::context::within_call;
use crate::error::{Code, Error, Fault};
use crate::handler_stop_reason::StopReason;
use crate::lazy_timeout::until;
use crate::message::{CallId, DeadLetterReason, Deadline, Message, ReplyTo};
use crate::panic_containment::{catch, contain};
use crate::service::{AtMostOnceGate, CallFacts, ReplySlot, Request, ReturnReceipt, Service};
use crate::transport::{Abandoned, Answer, DeadLetterInfo, Delivery, Outcome, Receipt, Settled};
use crate::worker::{EndpointLabel, Processor, delivery_span, describe, described_method};

/// The processor of a server's requests, which runs a service for each.
pub(super) struct RequestProcessor<S> {
    label: EndpointLabel,
    service: S,
    replies: Arc<ReplySender>,
    policy: RequestPolicy,
    counters: Arc<ServerCounters>,
    log: Arc<FailedRequestLog>,
}

impl<S: Service> RequestProcessor<S> {
    /// Creates the processor of the server `label`.
    pub(super) fn new(
        label: EndpointLabel,
        service: S,
        replies: ReplySender,
        policy: RequestPolicy,
        counters: Arc<ServerCounters>,
    ) -> Self {
        let log = Arc::new(FailedRequestLog::new(label.clone(), counters.clone()));
        Self { label, service, replies: Arc::new(replies), policy, counters, log }
    }
}

impl<S: Service> Processor for RequestProcessor<S> {
    const DRAINS_UNTIL_END: bool = false;

    async fn handle(self: Arc<Self>, delivery: Delivery) {
        let attempts = Attempts {
            recorded: delivery.attempt,
            begun: delivery.attempt_with_crashes(),
            suspect: delivery.suspect,
        };
        let Delivery { message, mut receipt, .. } = delivery;
        describe(&message, attempts.begun);
        let outcome = contain(self.process(message, &mut receipt, attempts)).await;
        receipt.settle(outcome.unwrap_or_else(|panic| {
            // Another delivery would panic in the same way.
            drop(catch(|| self.log.dropped(&panic)));
            Outcome::Ack
        }));
    }

    async fn refuse_delivery(self: Arc<Self>, delivery: Delivery) {
        let fault = Fault::new(Code::Unavailable, "cannot run the request: the server drains");
        describe(&delivery.message, delivery.attempt_with_crashes());
        let refusing = contain(self.refuse(delivery.message, fault)).await;
        // A panic is an internal error, after which the request is not requeued either.
        drop(refusing);
        delivery.receipt.ack();
    }

    fn cancel(&self, call: Abandoned) {
        if let Some(cancellations) = &self.policy.cancellations {
            let reason = if call.is_expired { Stopped::Expired } else { Stopped::Cancelled };
            cancellations.stop(&(call.reply_to, Some(call.id)), reason);
        }
    }

    fn permit(&self, answer: Answer) {
        self.replies.permit(answer);
    }

    async fn settled(&self) {
        self.replies.settled().await;
    }

    fn label(&self) -> &EndpointLabel {
        &self.label
    }

    fn reject(&self, error: &Error) {
        self.log.rejected(error);
    }
}

impl<S: Service> RequestProcessor<S> {
    /// Runs a request, and sends the reply. Returns the outcome to settle the request with. The
    /// receipt stays with the caller, so that a panic here does not requeue the request.
    async fn process(
        &self,
        mut message: Box<Message>,
        receipt: &mut Receipt,
        attempts: Attempts,
    ) -> Outcome {
        let Attempts { recorded, begun: attempt, suspect } = attempts;
        match self.policy.admit(&message, attempts) {
            AdmissionDecision::Run => {}
            AdmissionDecision::Isolate => return Outcome::Requeue,
            AdmissionDecision::Expired => {
                self.log.expired(message.method.as_ref(), "arrived after its deadline");
                return Outcome::Ack;
            }
            AdmissionDecision::KeptExpired => {
                self.log.expired(message.method.as_ref(), "did not begin in time");
                let error = "did not begin within its time to live";
                let info = DeadLetterInfo::new(DeadLetterReason::Expired, error);
                return Outcome::DeadLetter(Box::new(info));
            }
            // Boxed, as below, so that other requests do not embed it.
            AdmissionDecision::DeliveredTooOften => {
                return Box::pin(self.dead_letter(message, receipt, attempt)).await;
            }
            AdmissionDecision::MayHaveRun => {
                let cause = "cannot run the request: an earlier delivery may have run it";
                Box::pin(self.refuse(message, Fault::new(Code::Interrupted, cause))).await;
                return Outcome::Ack;
            }
        }
        let _running = self.counters.running.enter();
        let (id, reply_to) = (message.id, message.reply_to.take());
        if let Some(fault) = message.fault.take() {
            // The request cannot be decoded.
            let reply = Box::new(Message::failed(*fault));
            let (reply_to, is_suspect) = (reply_to.as_ref(), suspect.is_some());
            return self.finish(reply, (id, reply_to), receipt, is_suspect).await;
        }
        if reply_to.is_none() {
            // It said by when a one-way call must begin. Its handler runs to its end.
            (message.deadline, message.keep_expired) = (None, false);
        }
        let redelivered = recorded > 1 || suspect.is_some();
        // A suspect was delivered before, also in its first attempt.
        let deliveries = attempt.max(1 + u32::from(redelivered));
        let gate = AtMostOnceGate::new(std::mem::replace(receipt, Receipt::none()), deliveries);
        let facts = CallFacts::new(&message, reply_to, (attempt, redelivered));
        // Layers may move the request, and with it the slot, to a task of their own.
        let slot = self.replies.slot(facts, message.content_type.clone(), gate);
        let returning = ReturnReceipt { gate: slot.gate(), receipt };
        let reply_slot = Some(slot.clone());
        let request = Request { attempt, redelivered, reply_slot, ..Request::new(message) };
        let run = self.run(request, slot.clone());
        let reply = match (slot.has_caller(), &self.policy.reply_cache) {
            (false, _) => run.await,
            (true, None) => match self.answer(run, &slot).await {
                Some(Answered::Late(reply)) => Some(reply),
                Some(Answered::Early(_)) | None => None,
            },
            // Boxed so that servers without a cache do not embed it.
            (true, Some(cache)) => Box::pin(self.answer_once(run, &slot, cache)).await,
        };
        self.log.not_begun(slot.gate());
        drop(returning);
        match reply {
            Some(reply) => {
                let reply_to = slot.facts().reply_to.as_ref();
                self.finish(reply, (id, reply_to), receipt, suspect.is_some()).await
            }
            None => Outcome::Ack,
        }
    }

    /// Returns the reply to a call: from the cache if the call is a duplicate, else from `run`,
    /// which is not polled before. `None` if there is none to send, as by [`answer`](Self::answer).
    async fn answer_once(
        &self,
        run: BoxFuture<'_, Option<Box<Message>>>,
        slot: &ReplySlot,
        cache: &ReplyCache,
    ) -> Option<Box<Message>> {
        let mut is_replied = false;
        let work = async {
            let answered = self.answer(run, slot).await?;
            is_replied = matches!(answered, Answered::Early(_));
            // Duplicates get the reply that the caller got.
            Some(match answered {
                Answered::Late(reply) | Answered::Early(reply) => *reply,
            })
        };
        let (reply, is_new) = cache.get_or_run(call_key(slot)?, work).await?;
        if !is_new {
            self.counters.duplicates.increment();
        }
        (!is_replied).then(|| Box::new(reply))
    }

    /// Returns the reply to a call from `run`, which is not polled before. `None` if the caller
    /// cancels, or its deadline passes.
    async fn answer(
        &self,
        run: BoxFuture<'_, Option<Box<Message>>>,
        slot: &ReplySlot,
    ) -> Option<Answered> {
        let outcome = match &self.policy.cancellations {
            None => Ok(run.await),
            Some(cancellations) => {
                let outlives_caller = || slot.outlives_caller();
                cancellations.unless_cancelled(|| call_key(slot), run, outlives_caller).await
            }
        };
        let reply = outcome.unwrap_or_else(|reason| {
            self.log.stopped(described_method().as_ref(), reason);
            None
        });
        let Some(early) = slot.close() else { return reply.map(Answered::Late) };
        self.finish_replied(reply);
        Some(Answered::Early(early))
    }

    /// Runs the service in the context of the call, until the deadline. `None` if the deadline
    /// passes, unless the handler has replied by then, or is uncancelled. Nothing runs before the
    /// first poll.
    ///
    /// Boxed so that the enclosing futures do not each embed the handler.
    fn run(&self, request: Request, slot: Arc<ReplySlot>) -> BoxFuture<'_, Option<Box<Message>>> {
        Box::pin(within_call(slot.clone(), async move {
            if self.policy.is_at_most_once(&request.message)
                // Boxed so that other requests do not embed it.
                && let Err(fault) = Box::pin(request.begin_at_most_once()).await
            {
                return (!slot.gate().is_denied()).then(|| Box::new(Message::failed(fault)));
            }
            let deadline = request.message.deadline.map(Deadline::instant);
            // With the conversion, which calls the `Display` of errors.
            let call = contain(async { into_message(self.service.call(request).await) });
            tokio::pin!(call);
            let outcome = match until(deadline, call.as_mut()).await {
                Some(outcome) => outcome,
                None if slot.outlives_caller() => call.await,
                None => {
                    StopReason::DeadlineExceeded.during(|| call.discard());
                    let method = slot.facts().method.as_ref();
                    self.log.expired(method, "ran until its deadline");
                    return None;
                }
            };
            // The caller has gone, or another server has the call.
            if slot.gate().is_denied() {
                return None;
            }
            Some(match outcome {
                Ok(message) => message,
                Err(panic) => Box::new(Message::failed(self.log.panicked(panic.message()))),
            })
        }))
    }

    /// Sends the reply to a call with this id and this address, if a caller waits. Returns the
    /// outcome to settle the request with: in this order, so that a request whose reply is lost is
    /// redelivered.
    ///
    /// The backend may take the receipt, and settle the request when the reply is confirmed. That
    /// of a suspect stays here: nothing else runs until it is settled.
    async fn finish(
        &self,
        mut reply: Box<Message>,
        (id, reply_to): (Option<CallId>, Option<&ReplyTo>),
        receipt: &mut Receipt,
        is_suspect: bool,
    ) -> Outcome {
        if let Some(fault) = reply.fault.take_if(|fault| fault.code == Code::Declined) {
            self.counters.declined.increment();
            if self.policy.forwards_declined && receipt.is_some() {
                return Outcome::Decline(fault);
            }
            reply.fault = Some(fault);
        }
        let Some(reply_to) = reply_to else {
            if let Some(fault) = reply.fault {
                self.log.failed_one_way(&fault);
            }
            return Outcome::Ack;
        };
        match receipt.is_some() && !is_suspect {
            true => self.replies.send_and_settle(reply, (id, reply_to), receipt).await,
            false => self.replies.send(reply, (id, reply_to)).await,
        }
    }

    /// Counts a handler that replied before it ended, and logs its failure.
    fn finish_replied(&self, outcome: Option<Box<Message>>) {
        self.counters.answered.increment();
        self.counters.answered_early.increment();
        if let Some(fault) = outcome.and_then(|message| message.fault) {
            self.log.failed_late(&fault);
        }
    }

    /// Answers a request with a fault instead of running it.
    async fn refuse(&self, message: Box<Message>, fault: Fault) {
        self.log.refused(message.method.as_ref(), &fault.message);
        if let Some(reply_to) = &message.reply_to {
            self.replies.send(Box::new(Message::failed(fault)), (message.id, reply_to)).await;
        }
    }

    /// Answers a request that seems to crash its servers with a fault, and dead-letters it. Returns
    /// the outcome for the receipt that is left. The line in the log waits for the backend to keep
    /// the request.
    async fn dead_letter(
        &self,
        message: Box<Message>,
        receipt: &mut Receipt,
        attempt: u32,
    ) -> Outcome {
        let method = message.method.clone();
        let cause = "cannot run the request: it exceeded the delivery limit without an outcome";
        let fault = Fault::new(Code::Internal, cause);
        let info =
            DeadLetterInfo::new(DeadLetterReason::Crashed, format!("delivered {attempt} times"));
        self.refuse(message, fault).await;
        let (log, span) = (self.log.clone(), delivery_span());
        let settled = move |settled| {
            span.in_scope(|| match settled {
                Settled::Done | Settled::DeadLettered => {
                    log.dead_lettered(method.as_ref(), attempt);
                }
                Settled::Discarded => log.lost(method.as_ref(), attempt),
                Settled::Requeued => {}
            });
        };
        let receipt = std::mem::replace(receipt, Receipt::none());
        receipt.settle_then(Outcome::DeadLetter(Box::new(info)), Box::new(settled));
        Outcome::Ack
    }
}

/// A reply to a call.
enum Answered {
    /// From a handler that has ended: to be sent.
    Late(Box<Message>),
    /// One that the handler has sent before its end.
    Early(Box<Message>),
}
