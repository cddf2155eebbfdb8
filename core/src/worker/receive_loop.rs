//! The loop of servers, workers and listeners: receive deliveries, and process each in a task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;

use super::inline_policy::InlinePolicy;
use super::lifecycle::{Lifecycle, StopGuard};
use super::processor::{EndpointLabel, Processor};
use crate::error::Error;
use crate::transport::{Abandoned, Answer, Delivery, Receiver, Window};

/// Receives deliveries and processes them, at most a window of them at once.
///
/// A delivery is first polled in this task. If it is not done at once, it continues in a task of
/// its own. The loop ends when a drain is requested, or when the receiver ends. It then waits for
/// all running handlers.
///
/// Dropping the future drops the running handlers, and their deliveries are requeued.
pub(crate) async fn receive<P: Processor>(
    processor: Arc<P>,
    receiver: Receiver,
    window: Window,
    stop: StopGuard,
) {
    // Locals are dropped in reverse order: the guard goes last, after the handlers.
    let stop = stop;
    let mut receiver = receiver;
    // Dropping the set drops the handlers, and with them their receipts, which requeues.
    let mut running = JoinSet::new();
    let EndpointLabel { role, name } = processor.label().clone();
    tracing::info!(role, %name, window = window.messages(), "started");
    serve(&processor, &mut receiver, window, &mut running, stop.lifecycle()).await;
    let is_closed = stop.lifecycle().is_serving();
    let why = if is_closed { "the transport is closed" } else { "a drain was requested" };
    tracing::info!(role, %name, running = running.len(), why, "draining");
    receiver.stop();
    drain(&processor, &mut receiver, window, &mut running).await;
    tracing::info!(role, %name, "stopped");
}

/// Processes deliveries until a drain is requested, or the receiver ends.
async fn serve<P: Processor>(
    processor: &Arc<P>,
    receiver: &mut Receiver,
    window: Window,
    running: &mut JoinSet<()>,
    lifecycle: &Lifecycle,
) {
    let draining = lifecycle.drain_requested();
    tokio::pin!(draining);
    let mut policy = InlinePolicy::new();
    loop {
        while running.try_join_next().is_some() {}
        let full = running.len() >= window.messages();
        let next = tokio::select! {
            biased;
            () = &mut draining => return,
            _ = running.join_next(), if full => continue,
            next = next(receiver, !full) => next,
        };
        match next {
            Next::Delivery(delivery) => start(processor, delivery, &mut policy, running),
            Next::Unreadable(error) => processor.reject(&error),
            Next::Abandoned(call) => processor.cancel(call),
            Next::Answer(answer) => processor.permit(answer),
            Next::End => return,
        }
        // Without this, a queue that is never empty would keep other tasks from this thread.
        consume_budget().await;
    }
}

/// An item of the receiver.
#[expect(
    clippy::large_enum_variant,
    reason = "most are deliveries, which would have to be boxed one by one"
)]
enum Next {
    Delivery(Delivery),
    Unreadable(Error),
    Abandoned(Abandoned),
    Answer(Answer),
    End,
}

/// Waits for the next item; for a delivery only if `has_room`.
async fn next(receiver: &mut Receiver, has_room: bool) -> Next {
    poll_fn(|cx| {
        if let Poll::Ready(call) = receiver.poll_abandoned(cx) {
            return Poll::Ready(Next::Abandoned(call));
        }
        if let Poll::Ready(answer) = receiver.poll_answer(cx) {
            return Poll::Ready(Next::Answer(answer));
        }
        if !has_room {
            return Poll::Pending;
        }
        Pin::new(&mut *receiver).poll_next(cx).map(|next| match next {
            Some(Ok(delivery)) => Next::Delivery(delivery),
            Some(Err(error)) => Next::Unreadable(error),
            None => Next::End,
        })
    })
    .await
}

/// Starts to process a delivery: inline if the policy allows it, else in a task.
fn start<P: Processor>(
    processor: &Arc<P>,
    delivery: Delivery,
    policy: &mut InlinePolicy,
    running: &mut JoinSet<()>,
) {
    let mut handling = Box::pin(processor.clone().handle(delivery));
    // A future that is not done at once is polled again by its task, so this poll needs no waker.
    let mut context = Context::from_waker(Waker::noop());
    if policy.polls_inline() && policy.time(|| handling.as_mut().poll(&mut context)).is_ready() {
        return;
    }
    running.spawn(handling);
}

/// Waits for the running handlers, and turns down deliveries that the backend could not requeue.
async fn drain<P: Processor>(
    processor: &Arc<P>,
    receiver: &mut Receiver,
    window: Window,
    running: &mut JoinSet<()>,
) {
    let mut open = true;
    while !running.is_empty() || (open && P::DRAINS_UNTIL_END) {
        let has_room = open && running.len() < window.messages();
        tokio::select! {
            biased;
            next = next(receiver, has_room) => match next {
                Next::Delivery(delivery) => {
                    drop(running.spawn(processor.clone().turn_down(delivery)));
                }
                Next::Unreadable(error) => processor.reject(&error),
                Next::Abandoned(call) => processor.cancel(call),
                Next::Answer(answer) => processor.permit(answer),
                Next::End => open = false,
            },
            Some(_) = running.join_next() => {}
        }
    }
}
