//! The processing of a server's requests: admit, run, reply, settle.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use tokio::time::timeout_at;

use super::reply_sender::ReplySender;
use super::request_policy::{Admission, RequestPolicy};
use super::server_stats::ServerCounters;
use crate::context::Context;
use crate::error::{CallError, Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, DeadLetterReason, Deadline, Message, ReplyTo};
use crate::service::{Gate, Reply, ReplySlot, Request, RequeueOnDrop, Service};
use crate::transport::{
    Abandoned, Answer, DeadLetterInfo, Delivery, LogThrottle, Outcome, Receipt,
};
use crate::worker::{EndpointLabel, Processor, panic_message};

/// The processor of a server's requests, which runs a service for each.
pub(super) struct RequestProcessor<S> {
    label: EndpointLabel,
    service: S,
    replies: ReplySender,
    policy: RequestPolicy,
    counters: Arc<ServerCounters>,
    expired_log: LogThrottle,
    refused_log: LogThrottle,
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
        let (expired_log, refused_log) = (LogThrottle::default(), LogThrottle::default());
        Self { label, service, replies, policy, counters, expired_log, refused_log }
    }
}

impl<S: Service> Processor for RequestProcessor<S> {
    const DRAINS_UNTIL_END: bool = false;

    async fn handle(self: Arc<Self>, delivery: Delivery) {
        match self.policy.admit(&delivery) {
            Admission::Run => {}
            Admission::Expired => {
                self.expire(delivery.message.method.as_ref(), "arrived after its deadline");
                return delivery.receipt.ack();
            }
            Admission::KeptExpired => {
                self.expire(
                    delivery.message.method.as_ref(),
                    "dead-lettered: did not begin in time",
                );
                let error = "did not begin within its time to live";
                let info = DeadLetterInfo::new(DeadLetterReason::Expired, error);
                return delivery.receipt.settle(Outcome::DeadLetter(Box::new(info)));
            }
            Admission::DeliveredTooOften => return self.dead_letter(delivery).await,
            Admission::MayHaveRun => {
                let cause = "cannot run the request: an earlier delivery may have run it";
                let fault = Fault::new(Code::Interrupted, cause);
                return self.refuse(delivery, fault, Outcome::Ack).await;
            }
        }
        let Delivery { mut message, receipt, attempt } = delivery;
        let _running = self.counters.running.enter();
        let (id, reply_to) = (message.id, message.reply_to.take());
        if reply_to.is_none() {
            // It said by when a one-way call must begin. Its handler runs to its end.
            message.deadline = None;
        }
        let unreadable = message.fault.take();
        let request = Request { attempt, ..Request::new(message) };
        let (reply, receipt) = match (unreadable, &reply_to) {
            (Some(fault), _) => (Some(Message::failed(*fault)), receipt),
            (None, Some(reply_to)) => {
                let gate = Gate::new(receipt, attempt);
                let slot = self.replies.slot(&request.message, reply_to.clone(), gate);
                let slot = Arc::new(slot);
                let _requeue = RequeueOnDrop(slot.gate());
                let reply = self.answer(request, reply_to.clone(), slot.clone()).await;
                self.count_refused(slot.gate());
                (reply, slot.gate().take_receipt())
            }
            (None, None) => {
                // An allocation for each one-way request: its handler may settle it, by a request
                // that layers own.
                let gate = Arc::new(Gate::new(receipt, attempt));
                let _requeue = RequeueOnDrop(&gate);
                let request = Request { one_way_gate: Some(gate.clone()), ..request };
                let reply = self.run(request).await;
                self.count_refused(&gate);
                (reply, gate.take_receipt())
            }
        };
        match reply {
            Some(reply) => self.finish(Message { id, reply_to, ..reply }, receipt).await,
            None => receipt.ack(),
        }
    }

    async fn turn_down(self: Arc<Self>, delivery: Delivery) {
        let fault = Fault::new(Code::Unavailable, "cannot run the request: the server drains");
        self.refuse(delivery, fault, Outcome::Ack).await;
    }

    fn cancel(&self, call: Abandoned) {
        if let Some(cancellations) = &self.policy.cancellations {
            cancellations.cancel(&(call.reply_to, Some(call.id)));
        }
    }

    fn permit(&self, answer: Answer) {
        self.replies.permit(answer);
    }

    fn label(&self) -> &EndpointLabel {
        &self.label
    }

    fn reject(&self, error: &Error) {
        self.counters.rejected.increment();
        tracing::warn!(service = %self.label.name, ?error, "rejected a request that cannot be decoded");
    }
}

impl<S: Service> RequestProcessor<S> {
    /// Returns the reply to a call: from the cache if the call is a duplicate, else from the
    /// service. `None` if the caller cancels, its deadline passes, or it has a reply already.
    async fn answer(
        &self,
        request: Request,
        reply_to: ReplyTo,
        slot: Arc<ReplySlot>,
    ) -> Option<Message> {
        let (key, deadline) = ((reply_to, request.message.id), request.message.deadline);
        let request = Request { reply_slot: Some(slot.clone()), ..request };
        let mut is_replied = false;
        // Boxed so that the two branches below do not each embed it.
        let work = Box::pin(async {
            let run = self.run(request);
            let outcome = match &self.policy.cancellations {
                None => Some(run.await),
                Some(cancellations) => {
                    cancellations.unless_cancelled(key.clone(), run, || slot.is_replied()).await
                }
            };
            if outcome.is_none() {
                self.stopped(deadline);
            }
            let reply = outcome.flatten();
            let Some(early) = slot.close() else { return reply };
            is_replied = true;
            self.finish_replied(reply);
            // Duplicates get the reply that the caller got.
            Some(early)
        });
        let reply = match &self.policy.reply_cache {
            None => work.await?,
            Some(cache) => {
                let (reply, is_new) = cache.get_or_run(key.clone(), work).await?;
                if !is_new {
                    self.counters.duplicates.increment();
                }
                reply
            }
        };
        (!is_replied).then_some(reply)
    }

    /// Runs the service in the context of the call, until the deadline. `None` if the deadline
    /// passes, unless the handler has replied by then.
    ///
    /// Boxed so that the enclosing futures do not each embed the handler.
    fn run(&self, request: Request) -> BoxFuture<'_, Option<Message>> {
        let mut context = Context::of_call(&self.label.name, &request.message, request.attempt);
        context.reply_slot.clone_from(&request.reply_slot);
        Box::pin(context.carry(async move {
            if self.policy.is_at_most_once(&request.message)
                // Boxed so that other requests do not embed it.
                && let Err(fault) = Box::pin(request.begin_at_most_once()).await
            {
                let slot = request.reply_slot.as_ref();
                let is_denied = slot.is_some_and(|slot| slot.gate().is_denied());
                return (!is_denied).then(|| Message::failed(fault));
            }
            let (deadline, slot) = (request.message.deadline, request.reply_slot.clone());
            let call = AssertUnwindSafe(self.service.call(request)).catch_unwind();
            tokio::pin!(call);
            let outcome = match deadline {
                None => call.await,
                Some(deadline) => match timeout_at(deadline.instant(), &mut call).await {
                    Ok(outcome) => outcome,
                    Err(_) if slot.as_ref().is_some_and(|slot| slot.is_replied()) => call.await,
                    Err(_) => {
                        self.expire(current_method().as_ref(), "ran until its deadline");
                        return None;
                    }
                },
            };
            // The caller has gone, or another server has the call.
            if slot.is_some_and(|slot| slot.gate().is_denied()) {
                return None;
            }
            Some(match outcome {
                Ok(outcome) => into_message(outcome),
                Err(panic) => Message::failed(self.panicked(panic_message(panic.as_ref()))),
            })
        }))
    }

    /// Sends the reply, then settles the request: in this order, so that a request whose reply is
    /// lost is redelivered.
    async fn finish(&self, mut reply: Message, receipt: Receipt) {
        if let Some(fault) = reply.fault.take_if(|fault| fault.code == Code::Declined) {
            self.counters.declined.increment();
            if self.policy.forwards_declined && receipt.is_some() {
                return receipt.settle(Outcome::Decline(fault));
            }
            reply.fault = Some(fault);
        }
        if reply.reply_to.is_none() {
            if let Some(fault) = reply.fault {
                tracing::warn!(service = %self.label.name, %fault, "a one-way call failed");
            }
            return receipt.ack();
        }
        receipt.settle(self.replies.send(reply).await);
    }

    /// Counts a request that was not begun, because another delivery may have been.
    fn count_refused(&self, gate: &Gate) {
        if gate.is_refused() {
            self.counters.refused.increment();
            tracing::debug!(service = %self.label.name, "did not begin a request: it runs at most once");
        }
    }

    /// Counts a handler that replied before it ended, and logs its failure.
    fn finish_replied(&self, outcome: Option<Message>) {
        self.counters.answered.increment();
        self.counters.answered_early.increment();
        if let Some(fault) = outcome.and_then(|message| message.fault) {
            self.counters.failed_late.increment();
            tracing::error!(%fault, "a handler failed after its reply");
        }
    }

    /// Answers a request with a fault instead of running it, and settles it.
    async fn refuse(&self, delivery: Delivery, fault: Fault, outcome: Outcome) {
        self.counters.refused.increment();
        let Delivery { message, receipt, .. } = delivery;
        if let Some(count) = self.refused_log.note() {
            let method = message.method.as_ref().map(Address::as_str);
            tracing::warn!(service = %self.label.name, method, count, why = fault.message, "refused requests");
        }
        if message.reply_to.is_some() {
            let mut reply = Message::failed(fault);
            (reply.id, reply.reply_to) = (message.id, message.reply_to);
            self.replies.send(reply).await;
        }
        receipt.settle(outcome);
    }

    /// Dead-letters a request that seems to crash its servers, and answers it with a fault.
    async fn dead_letter(&self, delivery: Delivery) {
        let attempt = delivery.attempt;
        let method = delivery.message.method.as_ref().map(Address::as_str);
        tracing::error!(service = %self.label.name, method, attempt, "dead-lettered a request: it exceeded the delivery limit");
        let cause = "cannot run the request: it exceeded the delivery limit without an outcome";
        let fault = Fault::new(Code::Internal, cause);
        let info =
            DeadLetterInfo::new(DeadLetterReason::Crashed, format!("delivered {attempt} times"));
        self.refuse(delivery, fault, Outcome::DeadLetter(Box::new(info))).await;
    }

    /// Counts a handler whose caller no longer waits: because the deadline has passed, or because the
    /// caller cancelled earlier.
    fn stopped(&self, deadline: Option<Deadline>) {
        if deadline.is_some_and(|deadline| deadline.remaining() <= DEADLINE_ERROR_MAX) {
            return self.expire(None, "ran until the deadline of its caller");
        }
        self.counters.cancelled.increment();
        tracing::debug!(service = %self.label.name, "stopped a handler: its caller cancelled");
    }

    fn expire(&self, method: Option<&Address>, what: &str) {
        self.counters.expired.increment();
        if let Some(count) = self.expired_log.note() {
            tracing::warn!(service = %self.label.name, method = method.map(Address::as_str), what, count, "requests expired");
        }
    }

    fn panicked(&self, panic: &str) -> Fault {
        self.counters.panicked.increment();
        let method = current_method();
        let method = method.as_ref().map(Address::as_str);
        tracing::error!(service = %self.label.name, method, panic, "a handler panicked");
        Fault::new(Code::Internal, format!("the handler panicked: {panic}")).with_kind("Panic")
    }
}

/// The error of the deadline at the server, which is later than that of the caller by the transit.
const DEADLINE_ERROR_MAX: Duration = Duration::from_millis(100);

/// Returns the method of the running handler, for the log.
fn current_method() -> Option<Address> {
    Context::current().and_then(|context| context.method)
}

/// Converts the outcome of a service into the message that the caller gets.
fn into_message(outcome: Result<Reply, CallError>) -> Message {
    let fault = match outcome {
        Ok(reply) => return reply.message,
        Err(CallError::Fault(fault)) => fault,
        Err(CallError::DeadlineExceeded(_)) => {
            Fault::new(Code::DeadlineExceeded, "the service timed out")
        }
        // A limit of a layer on this server: another server may accept the request.
        Err(CallError::Failed(error)) if error.kind() == ErrorKind::Overloaded => {
            Fault::new(Code::Unavailable, error.to_string())
        }
        Err(CallError::Failed(error)) => Fault::new(Code::Internal, error.to_string()),
        Err(CallError::Declared(never)) => match never {},
    };
    Message::failed(fault)
}
