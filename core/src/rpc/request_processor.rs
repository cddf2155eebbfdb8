//! The processing of a server's requests: admit, run, reply, settle.

use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::call_key::CallKey;
use super::cancellations::Stopped;
use super::failed_request_log::RequestLog;
use super::outcome_message::into_message;
use super::reply_cache::ReplyCache;
use super::reply_sender::ReplySender;
use super::request_policy::{Admission, Attempts, RequestPolicy};
use super::server_stats::ServerCounters;
use crate::contained::{catch, contain};
use crate::context::Context;
use crate::error::{Code, Error, Fault};
use crate::handler_stop_reason::StopReason;
use crate::lazy_timeout;
use crate::message::{DeadLetterReason, Message};
use crate::service::{Gate, ReplySlot, Request, ReturnReceipt, Service};
use crate::transport::{Abandoned, Answer, DeadLetterInfo, Delivery, Outcome, Receipt, Settled};
use crate::worker::{EndpointLabel, Processor, delivery_span, describe, described_method};

/// The processor of a server's requests, which runs a service for each.
pub(super) struct RequestProcessor<S> {
    label: EndpointLabel,
    service: S,
    replies: ReplySender,
    policy: RequestPolicy,
    counters: Arc<ServerCounters>,
    log: Arc<RequestLog>,
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
        let log = Arc::new(RequestLog::new(label.clone(), counters.clone()));
        Self { label, service, replies, policy, counters, log }
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

    async fn turn_down(self: Arc<Self>, delivery: Delivery) {
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
            Admission::Run => {}
            Admission::Isolate => return Outcome::Requeue,
            Admission::Expired => {
                self.log.expired(message.method.as_ref(), "arrived after its deadline");
                return Outcome::Ack;
            }
            Admission::KeptExpired => {
                self.log.expired(message.method.as_ref(), "did not begin in time");
                let error = "did not begin within its time to live";
                let info = DeadLetterInfo::new(DeadLetterReason::Expired, error);
                return Outcome::DeadLetter(Box::new(info));
            }
            // Boxed, as below, so that other requests do not embed it.
            Admission::DeliveredTooOften => {
                return Box::pin(self.dead_letter(message, receipt, attempt)).await;
            }
            Admission::MayHaveRun => {
                let cause = "cannot run the request: an earlier delivery may have run it";
                Box::pin(self.refuse(message, Fault::new(Code::Interrupted, cause))).await;
                return Outcome::Ack;
            }
        }
        let _running = self.counters.running.enter();
        let (id, reply_to) = (message.id, message.reply_to.take());
        if reply_to.is_none() {
            // It said by when a one-way call must begin. Its handler runs to its end.
            (message.deadline, message.keep_expired) = (None, false);
        }
        let unreadable = message.fault.take();
        let redelivered = recorded > 1 || suspect.is_some();
        let request = Request { attempt, redelivered, ..Request::new(message) };
        let reply = match unreadable {
            Some(fault) => Some(Box::new(Message::failed(*fault))),
            None => {
                // A suspect was delivered before, also in its first attempt.
                let deliveries = attempt.max(1 + u32::from(redelivered));
                let gate = Gate::new(std::mem::replace(receipt, Receipt::none()), deliveries);
                // Layers may move the request, and with it the slot, to a task of their own.
                let slot = Arc::new(self.replies.slot(&request.message, reply_to.clone(), gate));
                let returning = ReturnReceipt { gate: slot.gate(), receipt };
                let request = Request { reply_slot: Some(slot.clone()), ..request };
                let reply = match reply_to.clone() {
                    Some(reply_to) => {
                        let key = (reply_to, request.message.id);
                        self.answer(request, key, &slot).await
                    }
                    None => self.run(request).await,
                };
                self.log.not_begun(slot.gate());
                drop(returning);
                reply
            }
        };
        match reply {
            Some(mut reply) => {
                (reply.id, reply.reply_to) = (id, reply_to);
                self.finish(reply, receipt.is_some()).await
            }
            None => Outcome::Ack,
        }
    }

    /// Returns the reply to a call: from the cache if the call is a duplicate, else from the
    /// service. `None` if the caller cancels, its deadline passes, or it has a reply already.
    async fn answer(
        &self,
        request: Request,
        key: CallKey,
        slot: &ReplySlot,
    ) -> Option<Box<Message>> {
        let (reply, is_replied) = match &self.policy.reply_cache {
            None => self.work(request, key, slot).await?,
            // Boxed so that servers without a cache do not embed it.
            Some(cache) => Box::pin(self.work_once(cache, request, key, slot)).await?,
        };
        (!is_replied).then_some(reply)
    }

    /// Runs a call, unless it is a duplicate. Returns the reply, and `true` if the handler of this
    /// request has sent it.
    async fn work_once(
        &self,
        cache: &ReplyCache,
        request: Request,
        key: CallKey,
        slot: &ReplySlot,
    ) -> Option<(Box<Message>, bool)> {
        let mut is_sent = false;
        let work = async {
            let (reply, is_replied) = self.work(request, key.clone(), slot).await?;
            is_sent = is_replied;
            Some(*reply)
        };
        let (reply, is_new) = cache.get_or_run(key.clone(), work).await?;
        if !is_new {
            self.counters.duplicates.increment();
        }
        Some((Box::new(reply), is_sent))
    }

    /// Runs a call until its caller cancels. Returns the reply, and `true` if the handler has sent
    /// it.
    async fn work(
        &self,
        request: Request,
        key: CallKey,
        slot: &ReplySlot,
    ) -> Option<(Box<Message>, bool)> {
        let run = self.run(request);
        let outcome = match &self.policy.cancellations {
            None => Ok(run.await),
            Some(cancellations) => {
                cancellations.unless_cancelled(key, run, || slot.outlives_caller()).await
            }
        };
        let reply = outcome.unwrap_or_else(|reason| {
            self.log.stopped(described_method().as_ref(), reason);
            None
        });
        let Some(early) = slot.close() else { return reply.map(|reply| (reply, false)) };
        self.finish_replied(reply);
        // Duplicates get the reply that the caller got.
        Some((early, true))
    }

    /// Runs the service in the context of the call, until the deadline. `None` if the deadline
    /// passes, unless the handler has replied by then, or is uncancelled.
    ///
    /// Boxed so that the enclosing futures do not each embed the handler.
    fn run(&self, request: Request) -> BoxFuture<'_, Option<Box<Message>>> {
        let mut context = Context::of_call(&self.label.name, &request.message, request.attempt);
        context.redelivered = request.redelivered;
        context.answer_by(request.reply_slot.clone());
        Box::pin(context.carry(async move {
            if self.policy.is_at_most_once(&request.message)
                // Boxed so that other requests do not embed it.
                && let Err(fault) = Box::pin(request.begin_at_most_once()).await
            {
                let slot = request.reply_slot.as_ref();
                let is_denied = slot.is_some_and(|slot| slot.gate().is_denied());
                return (!is_denied).then(|| Box::new(Message::failed(fault)));
            }
            let (deadline, slot) = (request.message.deadline, request.reply_slot.clone());
            // With the conversion, which calls the `Display` of errors.
            let call = contain(async { into_message(self.service.call(request).await) });
            tokio::pin!(call);
            let outcome = match deadline {
                None => call.await,
                Some(deadline) => {
                    match lazy_timeout::until(deadline.instant(), call.as_mut()).await {
                        Some(outcome) => outcome,
                        None if slot.as_ref().is_some_and(|slot| slot.outlives_caller()) => {
                            call.await
                        }
                        None => {
                            StopReason::DeadlineExceeded.during(|| call.discard());
                            let method = Context::current().and_then(|context| context.method);
                            self.log.expired(method.as_ref(), "ran until its deadline");
                            return None;
                        }
                    }
                }
            };
            // The caller has gone, or another server has the call.
            if slot.is_some_and(|slot| slot.gate().is_denied()) {
                return None;
            }
            Some(match outcome {
                Ok(message) => message,
                Err(panic) => Box::new(Message::failed(self.log.panicked(panic.message()))),
            })
        }))
    }

    /// Sends the reply. Returns the outcome to settle the request with: in this order, so that a
    /// request whose reply is lost is redelivered.
    async fn finish(&self, mut reply: Box<Message>, settles: bool) -> Outcome {
        if let Some(fault) = reply.fault.take_if(|fault| fault.code == Code::Declined) {
            self.counters.declined.increment();
            if self.policy.forwards_declined && settles {
                return Outcome::Decline(fault);
            }
            reply.fault = Some(fault);
        }
        if reply.reply_to.is_none() {
            if let Some(fault) = reply.fault {
                self.log.failed_one_way(&fault);
            }
            return Outcome::Ack;
        }
        self.replies.send(reply).await
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
        if message.reply_to.is_some() {
            let mut reply = Box::new(Message::failed(fault));
            (reply.id, reply.reply_to) = (message.id, message.reply_to);
            self.replies.send(reply).await;
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
            if matches!(settled, Settled::Done | Settled::DeadLettered) {
                span.in_scope(|| log.dead_lettered(method.as_ref(), attempt));
            }
        };
        let receipt = std::mem::replace(receipt, Receipt::none());
        receipt.settle_then(Outcome::DeadLetter(Box::new(info)), Box::new(settled));
        Outcome::Ack
    }
}
