//! The one loop behind every serving end.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;
use tokio::time::timeout_at;

use super::pace::Pace;
use super::server::{Phase, Shared};
use crate::transport::{Delivery, Receiver, Sender};
use crate::{
    CallError, Code, Deadline, Error, ErrorKind, Fault, Message, Reply, Request, Result, Service, Window,
};

/// Takes in deliveries, at most a window of them at once, and answers each: where it stands if that is done at once,
/// else in a task of its own.
pub(super) struct Intake<S> {
    pub(super) service: Arc<S>,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) window: Window,
    pub(super) shared: Arc<Shared>,
}

impl<S: Service> Intake<S> {
    pub(super) async fn run(self) {
        let Self { service, sender, mut receiver, window, shared } = self;
        let desk = Arc::new(Desk { service, sender, shared });
        // Dropping the set drops the handlers, and with them their receipts, which requeues.
        let mut running = JoinSet::new();
        desk.serve(&mut receiver, window, &mut running).await;
        receiver.stop();
        desk.wind_up(&mut receiver, &mut running).await;
    }
}

/// Where requests are answered.
struct Desk<S> {
    service: Arc<S>,
    sender: Sender,
    shared: Arc<Shared>,
}

impl<S: Service> Desk<S> {
    /// Serves until it is to drain, or the transport is closed.
    async fn serve(self: &Arc<Self>, receiver: &mut Receiver, window: Window, running: &mut JoinSet<()>) {
        let mut phase = self.shared.phase.subscribe();
        let draining = async { drop(phase.wait_for(|phase| *phase != Phase::Serving).await) };
        tokio::pin!(draining);
        let mut pace = Pace::new();
        loop {
            while running.try_join_next().is_some() {}
            let full = running.len() >= window.messages();
            let next = tokio::select! {
                biased;
                () = &mut draining => return,
                _ = running.join_next(), if full => continue,
                next = receiver.next(), if !full => next,
            };
            match next {
                Some(Ok(delivery)) => self.take_in(delivery, &mut pace, running),
                Some(Err(error)) => self.reject(&error),
                None => return,
            }
            // A queue that never runs empty would else keep this thread from everything but this service.
            consume_budget().await;
        }
    }

    /// Lets what runs finish, and refuses what the backend could not hand back.
    async fn wind_up(self: &Arc<Self>, receiver: &mut Receiver, running: &mut JoinSet<()>) {
        let mut open = true;
        while !running.is_empty() {
            tokio::select! {
                biased;
                next = receiver.next(), if open => match next {
                    Some(Ok(delivery)) => self.refuse(delivery).await,
                    Some(Err(error)) => self.reject(&error),
                    None => open = false,
                },
                _ = running.join_next() => {}
            }
        }
    }

    fn take_in(self: &Arc<Self>, delivery: Delivery, pace: &mut Pace, running: &mut JoinSet<()>) {
        if delivery.message.deadline.is_some_and(Deadline::is_expired) {
            self.count(|counts| &counts.expired);
            return delivery.receipt.ack();
        }
        let mut answering = Box::pin(self.clone().answer(delivery));
        // It is polled again by the task that it gets if it is not done at once, so nobody needs to be woken for it.
        let mut nobody = Context::from_waker(Waker::noop());
        if pace.begin_here() && pace.time(|| answering.as_mut().poll(&mut nobody)).is_ready() {
            return;
        }
        running.spawn(answering);
    }

    fn reject(&self, error: &Error) {
        self.count(|counts| &counts.rejected);
        tracing::warn!(?error, "rejected a request that cannot be read");
    }

    async fn refuse(&self, delivery: Delivery) {
        self.count(|counts| &counts.refused);
        let mut reply = Message::failed(Fault::new(Code::Unavailable, "the server is draining"));
        reply.id = delivery.message.id;
        reply.reply_to = delivery.message.reply_to;
        self.hand_over(reply).await;
        delivery.receipt.ack();
    }

    /// Carries out one request, replies, and settles: in this order, so that nothing is lost in between.
    async fn answer(self: Arc<Self>, delivery: Delivery) {
        let Delivery { mut message, receipt, redelivered } = delivery;
        let _running = Running::enter(&self.shared.counts.running);
        let (id, reply_to) = (message.id, message.reply_to.take());
        let reply = match message.fault.take() {
            Some(unreadable) => Some(Message::failed(*unreadable)),
            None => self.carry_out(Request { redelivered, ..Request::new(message) }).await,
        };
        let Some(mut reply) = reply else {
            self.count(|counts| &counts.expired);
            return receipt.ack();
        };
        if reply_to.is_none() {
            return receipt.ack();
        }
        reply.id = id;
        reply.reply_to = reply_to;
        if self.hand_over(reply).await { receipt.ack() } else { receipt.requeue() }
    }

    /// The reply of the service; `None` when the caller does not wait for it any more.
    async fn carry_out(&self, request: Request) -> Option<Message> {
        let deadline = request.message.deadline;
        let call = AssertUnwindSafe(self.service.call(request)).catch_unwind();
        let outcome = match deadline {
            Some(deadline) => timeout_at(deadline.instant(), call).await.ok()?,
            None => call.await,
        };
        let outcome = outcome.unwrap_or_else(|panic| {
            self.count(|counts| &counts.panicked);
            Err(panicked(panic.as_ref()).into())
        });
        Some(reply_of(outcome))
    }

    /// Sends a reply. `false` if the request should be tried elsewhere.
    async fn hand_over(&self, reply: Message) -> bool {
        let address = Message { id: reply.id, reply_to: reply.reply_to.clone(), ..Message::default() };
        let Err(error) = self.sender.send(reply).await else {
            self.count(|counts| &counts.answered);
            return true;
        };
        match error.kind() {
            // The caller must hear something: the fault is small.
            ErrorKind::TooLarge => self.excuse(address, &error).await,
            // Nobody waits for it: doing the work again would help nobody.
            ErrorKind::Unroutable => self.lose(&error, true),
            _ => self.lose(&error, false),
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
            Err(error) => self.lose(&error, error.kind() == ErrorKind::Unroutable),
        }
    }

    fn lose(&self, error: &Error, settled: bool) -> bool {
        self.count(|counts| &counts.undelivered);
        tracing::warn!(?error, "a reply could not be handed over");
        settled
    }

    fn count(&self, which: impl FnOnce(&super::server::Counts) -> &AtomicU64) {
        which(&self.shared.counts).fetch_add(1, Ordering::Relaxed);
    }
}

fn reply_of(outcome: Result<Reply, CallError>) -> Message {
    match outcome {
        Ok(reply) => reply.message,
        Err(CallError::Fault(fault)) => Message::failed(fault),
        Err(CallError::DeadlineExceeded) => {
            Message::failed(Fault::new(Code::DeadlineExceeded, "the service ran out of time"))
        }
        Err(CallError::Failed(error)) => Message::failed(Fault::new(Code::Internal, error.to_string())),
    }
}

/// The fault that tells of a panic: its message, and never where it came from.
fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Fault::new(Code::Internal, format!("the handler panicked: {}", message.unwrap_or("no message")))
        .with_kind("Panic")
}

/// Counts a request as running for as long as it lives.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn enter(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
