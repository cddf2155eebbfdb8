//! Where workers and listeners work off what arrives, and what becomes of it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

use crate::dialect::Dialect;
use crate::error::report;
use crate::error::{CallError, Code, Error, Fault, Result};
use crate::message::{DeadLetterReason, Message};
use crate::rpc::Handler;
use crate::service::{Reply, Request, Service};
use crate::transport::{Abandoned, DeadLetterInfo, Delivery, Receiver, RetryAfter};
use crate::transport::{Capabilities, Outcome, Window};
use crate::worker::receive_loop::{
    self, EndpointLabel, InFlightGuard, Lifecycle, StopGuard, panic_message,
};
use crate::worker::retries::End;
use crate::worker::{Retries, Serving};

/// An end that works deliveries off.
pub(crate) struct WorkLoop {
    pub(crate) receiver: Receiver,
    pub(crate) window: Window,
    pub(crate) retries: Retries,
    pub(crate) can: Capabilities,
    pub(crate) handle: WorkHandle,
    pub(crate) post: EndpointLabel,
    /// The last one, so that it is dropped last.
    pub(crate) duty: StopGuard,
}

impl WorkLoop {
    pub(crate) fn new(
        post: EndpointLabel,
        receiver: Receiver,
        window: Window,
        retries: Retries,
        can: Capabilities,
    ) -> Self {
        let handle = WorkHandle { phase: Lifecycle::new(), counts: Arc::default() };
        let duty = StopGuard::new(&handle.phase);
        Self { post, receiver, window, retries, can, handle, duty }
    }

    /// WorkLoop off until it is drained, or the transport is closed.
    pub(crate) fn run<S: Service>(self, service: S) -> Serving {
        let Self { post, receiver, window, retries, can, handle, duty } = self;
        let desk = JobProcessor { post, service, retries, can, counts: handle.counts };
        Serving::new(handle.phase, receive_loop::run(Arc::new(desk), receiver, window, duty))
    }
}

/// Settles what it is given by what the service says.
struct JobProcessor<S> {
    post: EndpointLabel,
    service: S,
    retries: Retries,
    can: Capabilities,
    counts: Arc<Counts>,
}

impl<S: Service> receive_loop::Processor for JobProcessor<S> {
    // Nobody else will do it.
    const TAKES_THE_REST: bool = true;

    async fn handle(self: Arc<Self>, delivery: Delivery) {
        let Delivery { message, receipt, attempt } = delivery;
        if receipt.is_some() && self.has_come_too_often(attempt) {
            let EndpointLabel { end, name } = &self.post;
            tracing::error!(
                end,
                %name,
                attempt,
                "came too often without a word of what became of it; it is not run again"
            );
            let outcome =
                self.dead_letter(DeadLetterReason::Crashed, format!("delivered {attempt} times"));
            self.note(&outcome);
            return receipt.settle(outcome);
        }
        let running = InFlightGuard::enter(&self.counts.running);
        let failed = self.carry_out(Request { attempt, ..Request::new(message) }).await.err();
        // Before it is settled, so that whoever sees it settled sees it done.
        drop(running);
        let outcome = match failed {
            None => Outcome::Ack,
            Some(fault) if receipt.is_some() => self.judge(&fault, attempt),
            Some(fault) => {
                let EndpointLabel { end, name } = &self.post;
                tracing::error!(end, %name, %fault, "failed, and cannot be given back");
                Outcome::Discard
            }
        };
        self.note(&outcome);
        receipt.settle(outcome);
    }

    async fn turn_down(self: Arc<Self>, delivery: Delivery) {
        self.handle(delivery).await;
    }

    // Nobody waits for the outcome of a job.
    fn abandon(&self, _: Abandoned) {}

    fn post(&self) -> &EndpointLabel {
        &self.post
    }

    fn reject(&self, error: &Error) {
        self.count(|counts| &counts.rejected);
        let EndpointLabel { end, name } = &self.post;
        tracing::warn!(end, %name, ?error, "rejected something that cannot be read");
    }
}

impl<S: Service> JobProcessor<S> {
    async fn carry_out(&self, request: Request) -> Result<(), Fault> {
        let context = request.context();
        let call = AssertUnwindSafe(self.service.call(request)).catch_unwind();
        // Boxed once, as on a server.
        let outcome = Box::pin(context.carry(call)).await;
        match outcome {
            Ok(Ok(Reply { message })) => message.fault.map_or(Ok(()), |fault| Err(*fault)),
            Ok(Err(CallError::Fault(fault))) => Err(fault),
            Ok(Err(error)) => Err(Fault::new(Code::Internal, error.to_string())),
            Err(panic) => {
                self.count(|counts| &counts.panicked);
                let (panic, EndpointLabel { end, name }) =
                    (panic_message(panic.as_ref()), &self.post);
                tracing::error!(end, %name, panic, "a handler panicked");
                Err(Fault::new(Code::Internal, format!("the handler panicked: {panic}"))
                    .with_kind("Panic"))
            }
        }
    }

    /// Whether more attempts were begun than there may be, so that the last one did not even fail.
    /// A single one proves nothing: what a worker handed back unseen counts as attempted, too.
    fn has_come_too_often(&self, attempt: u32) -> bool {
        let ends = self.can.dead_letters || self.retries.end == End::Discard;
        self.can.attempts && ends && attempt > self.retries.attempts.max(2)
    }

    /// What is to become of something that failed: another attempt, if one may help.
    fn judge(&self, fault: &Fault, attempt: u32) -> Outcome {
        let EndpointLabel { end, name } = &self.post;
        if matches!(fault.code, Code::InvalidArguments | Code::MethodNotFound) {
            tracing::error!(end, %name, %fault, attempt, "no attempt at it can succeed");
            return self.dead_letter(DeadLetterReason::Unreadable, fault.to_string());
        }
        if attempt >= self.retries.attempts {
            tracing::error!(end, %name, %fault, attempt, "failed for good");
            return self.dead_letter(DeadLetterReason::Exhausted, fault.to_string());
        }
        if !self.can.delayed_retries {
            tracing::warn!(end, %name, %fault, attempt, "failed; it is tried again");
            return Outcome::Requeue;
        }
        let after = self.retries.pause(attempt);
        tracing::warn!(end, %name, %fault, attempt, ?after, "failed; it is tried again");
        Outcome::Retry(Box::new(RetryAfter::new(after, fault.to_string())))
    }

    /// What is to become of something that failed for good.
    fn dead_letter(&self, reason: DeadLetterReason, error: String) -> Outcome {
        if self.retries.end == End::Discard {
            Outcome::Discard
        } else {
            dead_letter(&self.can, reason, error)
        }
    }

    fn note(&self, outcome: &Outcome) {
        self.count(|counts| match outcome {
            Outcome::Ack => &counts.done,
            Outcome::Requeue | Outcome::Decline(_) | Outcome::Retry(_) => &counts.retried,
            Outcome::Discard => &counts.discarded,
            Outcome::DeadLetter(_) => &counts.dead_lettered,
        });
    }

    fn count(&self, which: impl FnOnce(&Counts) -> &AtomicU64) {
        which(&self.counts).fetch_add(1, Ordering::Relaxed);
    }
}

/// What is to become of something that is of no more use here: it is kept, if the backend can keep
/// it.
pub(crate) fn dead_letter(can: &Capabilities, reason: DeadLetterReason, error: String) -> Outcome {
    if can.dead_letters {
        Outcome::DeadLetter(Box::new(DeadLetterInfo::new(reason, error)))
    } else {
        Outcome::Discard
    }
}

/// One handler as a service, whatever the method.
pub(crate) struct HandlerService<D, H, M> {
    dialect: D,
    handler: H,
    marker: PhantomData<fn() -> M>,
}

impl<D, H, M> HandlerService<D, H, M> {
    pub(crate) fn new(dialect: D, handler: H) -> Self {
        Self { dialect, handler, marker: PhantomData }
    }
}

impl<D: Dialect, H: Handler<M>, M: 'static> Service for HandlerService<D, H, M> {
    async fn call(&self, mut request: Request) -> Result<Reply, CallError> {
        let args = read(&self.dialect, &mut request.message)?;
        self.handler.handle(&request, &(), args).await?;
        Ok(Reply::default())
    }
}

/// What the message carries, or the fault that it is not.
fn read<D: Dialect, T: serde::de::DeserializeOwned>(
    dialect: &D,
    message: &mut Message,
) -> Result<T, Fault> {
    if let Some(unreadable) = message.fault.take() {
        return Err(*unreadable);
    }
    dialect.decode_call(message).map_err(|error| Fault::new(Code::InvalidArguments, report(&error)))
}

/// Stops a [`Worker`](crate::Worker) or a [`Listener`](crate::Listener), and tells what it does.
/// Clones are handles of the same one.
#[derive(Clone)]
pub struct WorkHandle {
    phase: Lifecycle,
    counts: Arc<Counts>,
}

impl WorkHandle {
    /// Takes in no more, lets what runs finish, and waits for that. The rest is handed back for
    /// others to take; where the transport cannot, what has arrived already is worked off
    /// first.
    ///
    /// Calling it again waits for the same end. Dropping the future goes on draining.
    pub fn drain(&self) -> impl Future<Output = ()> + Send + '_ {
        self.phase.drain()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> WorkStats {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        WorkStats {
            running: get(&counts.running),
            done: get(&counts.done),
            retried: get(&counts.retried),
            discarded: get(&counts.discarded),
            dead_lettered: get(&counts.dead_lettered),
            panicked: get(&counts.panicked),
            rejected: get(&counts.rejected),
        }
    }
}

impl fmt::Debug for WorkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkHandle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What a worker or a listener has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkStats {
    /// Jobs or events that are worked on now.
    pub running: u64,
    /// Those that were done.
    pub done: u64,
    /// Attempts that failed and were handed back for another one.
    pub retried: u64,
    /// Those that failed for good and are forgotten.
    pub discarded: u64,
    /// Those that failed for good and are kept as [dead letters](crate::DeadLetters).
    pub dead_lettered: u64,
    /// Handlers that panicked. They are among the retried, the discarded or the dead letters.
    pub panicked: u64,
    /// What could not be read at all.
    pub rejected: u64,
}

#[derive(Default)]
struct Counts {
    running: AtomicU64,
    done: AtomicU64,
    retried: AtomicU64,
    discarded: AtomicU64,
    dead_lettered: AtomicU64,
    panicked: AtomicU64,
    rejected: AtomicU64,
}
