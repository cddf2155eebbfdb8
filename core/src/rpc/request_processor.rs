//! Where a server answers requests.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use tokio::time::timeout_at;

use super::cancellations::Cancellations;
use super::deduplication::{CallKey, ReplyCache};
use super::replier::ReplySlot;
use super::server::Counts;
use crate::context::Context;
use crate::error::{CallError, Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, DeadLetterReason, Deadline, Message, ReplyTo};
use crate::service::{Reply, Request, Service};
use crate::transport::LogThrottle;
use crate::transport::Outcome;
use crate::transport::{Abandoned, DeadLetterInfo, Delivery, Receipt, Sender};
use crate::worker::receive_loop::{self, EndpointLabel, InFlightGuard, panic_message};

/// ReplyCache requests through a service.
pub(super) struct RequestProcessor<S> {
    pub(super) post: EndpointLabel,
    pub(super) service: S,
    pub(super) sender: Sender,
    pub(super) rules: RequestPolicy,
    pub(super) counts: Arc<Counts>,
    pub(super) late: LogThrottle,
    pub(super) refused: LogThrottle,
}

/// What becomes of requests that come twice, or whose callers are gone.
pub(super) struct RequestPolicy {
    pub(super) is_at_most_once: bool,
    /// How often a request may be delivered before it is taken for one that ends its servers.
    pub(super) deliveries_max: Option<u32>,
    /// Where duplicates are suppressed.
    pub(super) answers: Option<ReplyCache>,
    /// Where a transport says that a caller has stopped waiting.
    pub(super) underway: Option<Cancellations>,
    /// Whether the transport gives to another server what this one declines.
    pub(super) hands_on: bool,
}

impl<S: Service> receive_loop::Processor for RequestProcessor<S> {
    const TAKES_THE_REST: bool = false;

    async fn handle(self: Arc<Self>, mut delivery: Delivery) {
        if delivery.message.deadline.is_some_and(Deadline::is_expired) {
            self.count(|counts| &counts.expired);
            self.tell_late(delivery.message.method.as_ref(), "came too late to be begun");
            return delivery.receipt.ack();
        }
        if self.rules.deliveries_max.is_some_and(|most| delivery.attempt > most) {
            return self.dead_letter(delivery).await;
        }
        if !self.rules.is_at_most_once {
            return self.answer(delivery).await;
        }
        if delivery.attempt > 1 {
            let fault =
                Fault::new(Code::Unavailable, "it was delivered before, and may have been run");
            return self.refuse(delivery, fault, Outcome::Ack).await;
        }
        // Settled first, so that nobody gets it again.
        let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
        receipt.ack();
        self.answer(delivery).await;
    }

    async fn turn_down(self: Arc<Self>, delivery: Delivery) {
        let fault = Fault::new(Code::Unavailable, "the server is draining");
        self.refuse(delivery, fault, Outcome::Ack).await;
    }

    fn abandon(&self, call: Abandoned) {
        if let Some(underway) = &self.rules.underway {
            underway.abandon(&(call.reply_to, Some(call.id)));
        }
    }

    fn post(&self) -> &EndpointLabel {
        &self.post
    }

    fn reject(&self, error: &Error) {
        self.count(|counts| &counts.rejected);
        tracing::warn!(service = %self.post.name, ?error, "rejected a request that cannot be read");
    }
}

impl<S: Service> RequestProcessor<S> {
    async fn refuse(&self, delivery: Delivery, fault: Fault, outcome: Outcome) {
        self.count(|counts| &counts.refused);
        let Delivery { message, receipt, .. } = delivery;
        if let Some(count) = self.refused.note() {
            tracing::warn!(service = %self.post.name, method = name(&message), count, why = fault.message, "refused requests");
        }
        if message.reply_to.is_some() {
            let mut reply = Message::failed(fault);
            (reply.id, reply.reply_to) = (message.id, message.reply_to);
            self.hand_over(reply).await;
        }
        receipt.settle(outcome);
    }

    /// Keeps a request that seems to end its servers, and tells its caller.
    async fn dead_letter(&self, delivery: Delivery) {
        let attempt = delivery.attempt;
        let (service, method) = (&self.post.name, name(&delivery.message));
        tracing::error!(%service, method, attempt, "a request was delivered too often; it is not run again");
        let fault = Fault::new(
            Code::Internal,
            "it was delivered too often, and no server came to an end with it",
        );
        let burial =
            DeadLetterInfo::new(DeadLetterReason::Crashed, format!("delivered {attempt} times"));
        self.refuse(delivery, fault, Outcome::DeadLetter(Box::new(burial))).await;
    }

    /// Carries out one request, replies, and settles: in this order, so that nothing is lost in
    /// between.
    async fn answer(&self, delivery: Delivery) {
        let Delivery { mut message, receipt, attempt } = delivery;
        let _running = InFlightGuard::enter(&self.counts.running);
        let (id, reply_to) = (message.id, message.reply_to.take());
        let reply = match message.fault.take() {
            Some(unreadable) => Some(Message::failed(*unreadable)),
            None => {
                self.reply(Request { attempt, ..Request::new(message) }, reply_to.clone()).await
            }
        };
        let Some(mut reply) = reply else {
            return receipt.ack();
        };
        if let Some(fault) = reply.fault.take_if(|fault| fault.code == Code::Declined) {
            self.count(|counts| &counts.declined);
            if self.rules.hands_on && receipt.is_some() {
                return receipt.settle(Outcome::Decline(fault));
            }
            reply.fault = Some(fault);
        }
        if reply_to.is_none() {
            if let Some(fault) = reply.fault {
                tracing::warn!(service = %self.post.name, %fault, "a call that wants no reply failed");
            }
            return receipt.ack();
        }
        reply.id = id;
        reply.reply_to = reply_to;
        if self.hand_over(reply).await { receipt.ack() } else { receipt.requeue() }
    }

    /// The reply: from memory, if the request was answered before.
    async fn reply(&self, request: Request, reply_to: Option<ReplyTo>) -> Option<Message> {
        let Some(reply_to) = reply_to else {
            return self.carry_out(request).await;
        };
        let asker =
            Arc::new(ReplySlot::new(self.sender.clone(), &request.message, reply_to.clone()));
        let caller = (reply_to, request.message.id);
        let request = Request { asker: Some(asker.clone()), ..request };
        let mut is_answered = false;
        // In a box of its own: whichever way it goes, there would else be room for it on both.
        let work = Box::pin(async {
            let reply = self.carry_out_for(caller.clone(), request).await;
            let Some(early) = asker.end() else { return reply };
            is_answered = true;
            self.end_late(reply);
            // That is what whoever comes again is to be told.
            Some(early)
        });
        let reply = match &self.rules.answers {
            None => work.await?,
            Some(answers) => {
                let (reply, is_fresh) = answers.once(caller.clone(), work).await?;
                if !is_fresh {
                    self.count(|counts| &counts.suppressed);
                }
                reply
            }
        };
        (!is_answered).then_some(reply)
    }

    /// Notes how a handler has ended whose caller was answered before. There is nobody to be told.
    fn end_late(&self, reply: Option<Message>) {
        self.count(|counts| &counts.answered);
        self.count(|counts| &counts.answered_early);
        if let Some(fault) = reply.and_then(|reply| reply.fault) {
            self.count(|counts| &counts.failed_late);
            tracing::error!(%fault, "a handler failed after it had answered its caller");
        }
    }

    /// The reply of the service; `None` when this caller does not wait for it any more.
    async fn carry_out_for(&self, caller: CallKey, request: Request) -> Option<Message> {
        let Some(underway) = &self.rules.underway else {
            return self.carry_out(request).await;
        };
        let asker = request.asker.clone();
        let is_answered = || asker.as_ref().is_some_and(|asker| asker.is_answered());
        let reply = underway.unless_abandoned(caller, self.carry_out(request), is_answered).await;
        if reply.is_none() {
            self.count(|counts| &counts.abandoned);
            tracing::debug!(service = %self.post.name, "stopped a handler that nobody waits for any more");
        }
        reply?
    }

    /// The reply of the service; `None` when its time is over. Boxed once here: each of those that
    /// stand around it would else have room for it, some of them twice.
    fn carry_out(&self, request: Request) -> BoxFuture<'_, Option<Message>> {
        let mut context = Context::of_call(&self.post.name, &request.message, request.attempt);
        context.asker.clone_from(&request.asker);
        Box::pin(context.carry(self.run(request)))
    }

    /// The same, in the context of the call.
    async fn run(&self, request: Request) -> Option<Message> {
        let (deadline, asker) = (request.message.deadline, request.asker.clone());
        let call = AssertUnwindSafe(self.service.call(request)).catch_unwind();
        tokio::pin!(call);
        let outcome = match deadline {
            Some(deadline) => match timeout_at(deadline.instant(), &mut call).await {
                // Nobody waits for the rest.
                Err(_) if asker.is_some_and(|asker| asker.is_answered()) => Some(call.await),
                outcome => outcome.ok(),
            },
            None => Some(call.await),
        };
        let Some(outcome) = outcome else {
            self.count(|counts| &counts.expired);
            let method = Context::current().and_then(|context| context.method);
            self.tell_late(method.as_ref(), "took longer than the caller waits, and was stopped");
            return None;
        };
        Some(reply_of(
            outcome
                .unwrap_or_else(|panic| Err(self.panicked(panic_message(panic.as_ref())).into())),
        ))
    }

    fn panicked(&self, panic: &str) -> Fault {
        self.count(|counts| &counts.panicked);
        let method = Context::current().and_then(|context| context.method);
        let method = method.as_ref().map(Address::as_str);
        tracing::error!(service = %self.post.name, method, panic, "a handler panicked");
        Fault::new(Code::Internal, format!("the handler panicked: {panic}")).with_kind("Panic")
    }

    fn tell_late(&self, method: Option<&Address>, what: &str) {
        if let Some(count) = self.late.note() {
            tracing::warn!(service = %self.post.name, method = method.map(Address::as_str), what, count, "requests expired");
        }
    }

    /// Sends a reply. `false` if the request should be tried elsewhere.
    async fn hand_over(&self, reply: Message) -> bool {
        let address =
            Message { id: reply.id, reply_to: reply.reply_to.clone(), ..Message::default() };
        let Err(error) = self.sender.send(reply).await else {
            self.count(|counts| &counts.answered);
            return true;
        };
        match error.kind() {
            ErrorKind::Disconnected | ErrorKind::Closed => self.lose(&error, false),
            // Nobody waits for it: doing the work again would help nobody.
            ErrorKind::Unroutable => self.lose(&error, true),
            // The next attempt would end like this one. The caller must hear something: the fault
            // is small.
            _ => self.excuse(address, &error).await,
        }
    }

    async fn excuse(&self, mut reply: Message, error: &Error) -> bool {
        let fault = Fault::new(Code::Internal, format!("the reply cannot be sent: {error}"));
        reply.fault = Some(Box::new(fault));
        match self.sender.send(reply).await {
            Ok(()) => {
                self.count(|counts| &counts.answered);
                true
            }
            Err(error) => {
                let may_pass = matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Closed);
                self.lose(&error, !may_pass)
            }
        }
    }

    fn lose(&self, error: &Error, settled: bool) -> bool {
        self.count(|counts| &counts.undelivered);
        tracing::warn!(service = %self.post.name, ?error, "a reply could not be handed over");
        settled
    }

    fn count(&self, which: impl FnOnce(&Counts) -> &AtomicU64) {
        which(&self.counts).fetch_add(1, Ordering::Relaxed);
    }
}

/// What is called, for the log.
fn name(message: &Message) -> Option<&str> {
    message.method.as_ref().map(Address::as_str)
}

fn reply_of(outcome: Result<Reply, CallError>) -> Message {
    match outcome {
        Ok(reply) => reply.message,
        Err(CallError::Fault(fault)) => Message::failed(fault),
        Err(CallError::DeadlineExceeded(_)) => {
            Message::failed(Fault::new(Code::DeadlineExceeded, "the service ran out of time"))
        }
        // A limit of the server's own, in a layer: another server may have room.
        Err(CallError::Failed(error)) if error.kind() == ErrorKind::Overloaded => {
            Message::failed(Fault::new(Code::Unavailable, error.to_string()))
        }
        Err(CallError::Failed(error)) => {
            Message::failed(Fault::new(Code::Internal, error.to_string()))
        }
        Err(CallError::Declared(never)) => match never {},
    }
}
