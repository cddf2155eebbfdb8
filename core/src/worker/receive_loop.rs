//! The loop of servers, workers and listeners: receive deliveries, and process each in a task.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use tokio::task::JoinSet;
use tokio::task::coop::{consume_budget, has_budget_remaining};

use super::end_reason::Ended;
use super::inline_policy::InlinePolicy;
use super::lifecycle::{Lifecycle, StopGuard};
use super::processor::{EndpointLabel, Processor};
use super::suspect_isolation::Isolation;
use crate::error::{Error, ErrorKind, Result};
use crate::handler_stop_reason::StopReason;
use crate::health::EndpointReporter;
use crate::panic_containment::{Contained, ContainedDrop, catch, contain};
use crate::transport::{Abandoned, Answer, Delivery, LogThrottle, Receiver, Window};

/// Receives deliveries and processes them, at most a window of them at once.
///
/// A delivery is first polled in this task. If it is not done at once, it continues in a task of
/// its own. The loop ends when a drain is requested, or when the receiver ends. It then waits for
/// all running handlers. Returns the reason for the end, or the error that ended the receiver.
///
/// Dropping the future drops the running handlers, and their deliveries are requeued.
pub(crate) async fn receive<P: Processor>(
    processor: Arc<P>,
    receiver: Receiver,
    window: Window,
    stop: StopGuard,
) -> Result<Ended> {
    // Locals are dropped in reverse order: the guard goes last, after the handlers and the service.
    let stop = stop;
    let _last_share = ContainedDrop::new(processor.clone());
    let processor = processor;
    let mut receiver = receiver;
    // Dropping the set drops the handlers, and with them their receipts, which requeues.
    let mut running = JoinSet::new();
    let EndpointLabel { role, name } = processor.label().clone();
    tracing::info!(role, %name, window = window.messages(), "started");
    let ended = serve(&processor, &mut receiver, window, &mut running, stop.lifecycle()).await;
    match &ended {
        Ok(Ended::Drained) => {
            tracing::info!(role, %name, running = running.len(), why = "a drain was requested", "draining");
        }
        Ok(Ended::Closed) => {
            tracing::info!(role, %name, running = running.len(), why = "the transport is closed", "draining");
        }
        Err(error) => {
            let (running, health) = (running.len(), stop.lifecycle().health());
            // The transport has logged the refusal, once for all its endpoint handles.
            let is_logged = error.kind() == ErrorKind::Denied
                && health.is_some_and(EndpointReporter::is_connection_refused);
            if is_logged {
                tracing::debug!(role, %name, running, ?error, "cannot receive any more; draining");
            } else {
                tracing::error!(role, %name, running, ?error, "cannot receive any more; draining");
            }
            health.into_iter().for_each(|health| health.fail(error.clone()));
        }
    }
    // A receiver that failed is not polled again.
    let is_sound = ended.is_ok() && catch(|| receiver.stop()).is_ok();
    let receiver = is_sound.then_some(&mut receiver);
    drain(&processor, receiver, window, &mut running, stop.lifecycle()).await;
    processor.settled().await;
    tracing::info!(role, %name, "stopped");
    ended
}

/// Processes deliveries until a drain is requested, or the receiver ends.
async fn serve<P: Processor>(
    processor: &Arc<P>,
    receiver: &mut Receiver,
    window: Window,
    running: &mut JoinSet<()>,
    lifecycle: &Lifecycle,
) -> Result<Ended> {
    let draining = lifecycle.drain_requested();
    tokio::pin!(draining);
    let (mut policy, mut isolation) = (InlinePolicy::new(), Isolation::default());
    // The box of a delivery that was done at once, for the next one.
    let mut idle = None;
    // The waker that a drain wakes.
    let mut drain_waker = None;
    loop {
        while !running.is_empty() && running.try_join_next().is_some() {}
        if isolation.is_waiting() && running.is_empty() {
            // Handlers that have ended may have requests that the backend has yet to settle.
            tokio::select! {
                biased;
                () = processor.settled() => {}
                () = isolation.time_out() => {}
                () = lifecycle.drain_requested() => {}
            }
        }
        if let Some((suspect, limit)) = isolation.take_ready(running.is_empty()) {
            let handling = lifecycle.within_handler(processor.clone().handle(suspect));
            isolation.begin(running.spawn(Processing::new(handling)), limit);
        }
        let full = isolation.is_active() || running.len() >= window.messages();
        let next = {
            let is_isolated = isolation.is_active();
            let mut time_out = pin!(isolation.time_out());
            poll_fn(|cx| {
                // Known without a waker, which is registered only if there is nothing to do.
                if lifecycle.is_drain_requested() {
                    return Poll::Ready(Next::Drained);
                }
                if full && matches!(running.poll_join_next(cx), Poll::Ready(Some(_))) {
                    return Poll::Ready(Next::Room);
                }
                if is_isolated && time_out.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Next::Room);
                }
                if let Poll::Ready(next) = poll_next_caught(receiver, !full, cx) {
                    return Poll::Ready(next);
                }
                policy.wait();
                // It stays registered.
                if drain_waker.as_ref().is_some_and(|waker: &Waker| waker.will_wake(cx.waker())) {
                    return Poll::Pending;
                }
                drain_waker = has_budget_remaining().then(|| cx.waker().clone());
                draining.as_mut().poll(cx).map(|()| Next::Drained)
            })
            .await
        };
        match next {
            Next::Drained => return Ok(Ended::Drained),
            Next::Room => continue,
            Next::Delivery(delivery) if Isolation::is_needed(&delivery) => isolation.wait(delivery),
            Next::Delivery(delivery) => {
                let handling = lifecycle.within_handler(processor.clone().handle(delivery));
                start(handling, &mut policy, running, &mut idle);
            }
            Next::Unreadable(error) => quiet(|| processor.reject(&error)),
            Next::Abandoned(call) => quiet(|| processor.cancel(call)),
            Next::Answer(answer) => quiet(|| processor.permit(answer)),
            Next::Failed(error) => return Err(error),
            Next::End => return Ok(Ended::Closed),
        }
        if !has_budget_remaining() {
            policy.wait();
        }
        // Without this, a queue that is never empty would keep other tasks from this thread.
        consume_budget().await;
    }
}

/// An item of the receiver.
enum Next {
    Delivery(Delivery),
    Unreadable(Error),
    Abandoned(Abandoned),
    Answer(Answer),
    /// The error that ends the stream.
    Failed(Error),
    End,
    /// A handler has ended, or the time of an isolation: there may be room for another delivery.
    Room,
    /// A drain was requested.
    Drained,
}

/// Waits for the next item; for a delivery only if `has_room`.
async fn next(receiver: &mut Receiver, has_room: bool) -> Next {
    poll_fn(|cx| poll_next_caught(receiver, has_room, cx)).await
}

fn poll_next_caught(receiver: &mut Receiver, has_room: bool, cx: &mut Context<'_>) -> Poll<Next> {
    catch(|| poll_next(receiver, has_room, cx)).unwrap_or_else(|panic| {
        let error = Error::new(ErrorKind::Closed, "cannot receive: the transport panicked");
        Poll::Ready(Next::Failed(error.with("panic", panic).fatal()))
    })
}

fn poll_next(receiver: &mut Receiver, has_room: bool, cx: &mut Context<'_>) -> Poll<Next> {
    if let Poll::Ready(call) = receiver.poll_abandoned(cx) {
        return Poll::Ready(Next::Abandoned(call));
    }
    if let Poll::Ready(answer) = receiver.poll_answer(cx) {
        return Poll::Ready(Next::Answer(answer));
    }
    if !has_room {
        ready!(receiver.poll_read_ahead(cx));
        return receiver.poll_abandoned(cx).map(Next::Abandoned);
    }
    Pin::new(receiver).poll_next(cx).map(|next| match next {
        Some(Ok(delivery)) => Next::Delivery(delivery),
        Some(Err(error)) if error.is_fatal() => Next::Failed(error),
        Some(Err(error)) => Next::Unreadable(error),
        None => Next::End,
    })
}

/// Starts to process a delivery: inline if the policy allows it, else in a task.
fn start<F: Future<Output = ()> + Send + 'static>(
    handling: F,
    policy: &mut InlinePolicy,
    running: &mut JoinSet<()>,
    idle: &mut Option<Processing<F>>,
) {
    let mut handling = match idle.take() {
        Some(processing) => processing.begin(handling),
        None => Processing::new(handling),
    };
    // A future that is not done at once is polled again by its task, so this poll needs no waker.
    let mut context = Context::from_waker(Waker::noop());
    if policy.polls_inline()
        && policy.time(|| Pin::new(&mut handling).poll(&mut context)).is_ready()
    {
        *idle = Some(handling);
        return;
    }
    running.spawn(handling);
}

/// A delivery that is processed. Its processor contains the panics of the handler; a panic that
/// comes so far is that of the settlement.
///
/// If the value is dropped before its end, its handler is stopped as drained.
struct Processing<F>(Option<Pin<Box<Contained<F>>>>);

impl<F: Future> Processing<F> {
    fn new(handling: F) -> Self {
        Self(Some(Box::pin(contain(handling))))
    }

    /// Processes another delivery after one that is done, in the same box.
    fn begin(mut self, handling: F) -> Self {
        match &mut self.0 {
            Some(done) => done.as_mut().set(contain(handling)),
            None => return Self::new(handling),
        }
        self
    }
}

impl<F: Future> Future for Processing<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(handling) = &mut self.0 else { return Poll::Ready(()) };
        handling.as_mut().poll(cx).map(|done| {
            if let Err(panic) = done {
                quiet(|| {
                    if let Some(count) = INTERNAL_ERRORS.note() {
                        tracing::error!(%panic, count, "internal errors while deliveries were processed");
                    }
                });
            }
        })
    }
}

impl<F> Drop for Processing<F> {
    fn drop(&mut self) {
        StopReason::Drained.during(|| self.0 = None);
    }
}

/// Throttle for the log lines of panics outside of handlers.
static INTERNAL_ERRORS: LogThrottle = LogThrottle::new();

/// Runs a function whose panic has no consequence.
fn quiet(function: impl FnOnce()) {
    drop(catch(function));
}

/// Waits for the running handlers, and turns down deliveries that the backend could not requeue.
async fn drain<P: Processor>(
    processor: &Arc<P>,
    receiver: Option<&mut Receiver>,
    window: Window,
    running: &mut JoinSet<()>,
    lifecycle: &Lifecycle,
) {
    let Some(receiver) = receiver else {
        while running.join_next().await.is_some() {}
        return;
    };
    let mut open = true;
    while !running.is_empty() || (open && P::DRAINS_UNTIL_END) {
        let has_room = open && running.len() < window.messages();
        tokio::select! {
            biased;
            next = next(receiver, has_room) => match next {
                Next::Delivery(delivery) => {
                    let handling = processor.clone().refuse_delivery(delivery);
                    running.spawn(Processing::new(lifecycle.within_handler(handling)));
                }
                Next::Unreadable(error) => quiet(|| processor.reject(&error)),
                Next::Abandoned(call) => quiet(|| processor.cancel(call)),
                Next::Answer(answer) => quiet(|| processor.permit(answer)),
                Next::Failed(_) => {
                    while running.join_next().await.is_some() {}
                    return;
                }
                Next::End => open = false,
                Next::Room | Next::Drained => {}
            },
            Some(_) = running.join_next() => {}
        }
    }
}
