//! The one loop behind every end that works deliveries off: servers, workers, listeners.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;

use super::inline_policy::InlinePolicy;
use crate::error::Error;
use crate::message::Address;
use crate::transport::Window;
use crate::transport::{Abandoned, Delivery, Receiver};

/// What an end does with its deliveries.
pub(crate) trait Processor: Send + Sync + 'static {
    /// WorkLoop one off, and settles it.
    fn handle(self: Arc<Self>, delivery: Delivery) -> impl Future<Output = ()> + Send + 'static;

    /// Deals with one that came when no more is wanted, and that the backend could not hand back.
    fn turn_down(self: Arc<Self>, delivery: Delivery) -> impl Future<Output = ()> + Send + 'static;

    /// Which end it is.
    fn post(&self) -> &EndpointLabel;

    /// Notes that something came that cannot be read.
    fn reject(&self, error: &Error);

    /// Stops working on a call that nobody waits for any more.
    fn abandon(&self, call: Abandoned);

    /// Whether what the backend could not hand back is waited for, also when nothing runs any more.
    const TAKES_THE_REST: bool;
}

/// Which end it is, as the log and the metrics say it.
#[derive(Clone, Debug)]
pub(crate) struct EndpointLabel {
    /// A server, a worker or a listener.
    pub(crate) end: &'static str,
    /// The service, the queue or the channel.
    pub(crate) name: Address,
}

/// Takes in deliveries, at most a window of them at once, and works each off: where it stands if
/// that is done at once, else in a task of its own. Ends when it is to drain, or the receiver has
/// ended.
pub(crate) async fn run<D: Processor>(
    desk: Arc<D>,
    receiver: Receiver,
    window: Window,
    duty: StopGuard,
) {
    // What is declared first is dropped last: it has stopped when nothing of it is left.
    let duty = duty;
    let mut receiver = receiver;
    // Dropping the set drops the handlers, and with them their receipts, which requeues.
    let mut running = JoinSet::new();
    let EndpointLabel { end, name } = desk.post().clone();
    tracing::info!(end, %name, window = window.messages(), "is at work");
    serve(&desk, &mut receiver, window, &mut running, &duty.0).await;
    let why = if duty.0.is_serving() { "the transport is closed" } else { "it is to drain" };
    tracing::info!(end, %name, running = running.len(), why, "takes in no more, and finishes what runs");
    receiver.stop();
    wind_up(&desk, &mut receiver, window, &mut running).await;
    tracing::info!(end, %name, "has stopped");
}

async fn serve<D: Processor>(
    desk: &Arc<D>,
    receiver: &mut Receiver,
    window: Window,
    running: &mut JoinSet<()>,
    phase: &Lifecycle,
) {
    let draining = phase.left_serving();
    tokio::pin!(draining);
    let mut pace = InlinePolicy::new();
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
            Next::Delivery(delivery) => take_in(desk, delivery, &mut pace, running),
            Next::Unreadable(error) => desk.reject(&error),
            Next::Abandoned(call) => desk.abandon(call),
            Next::End => return,
        }
        // A queue that never runs empty would else keep this thread from everything but this end.
        consume_budget().await;
    }
}

/// What comes next.
#[expect(
    clippy::large_enum_variant,
    reason = "most are deliveries, which would have to be boxed one by one"
)]
enum Next {
    Delivery(Delivery),
    Unreadable(Error),
    Abandoned(Abandoned),
    End,
}

/// What comes next; no delivery, unless it is wanted.
async fn next(receiver: &mut Receiver, is_wanted: bool) -> Next {
    poll_fn(|cx| {
        if let Poll::Ready(call) = receiver.poll_abandoned(cx) {
            return Poll::Ready(Next::Abandoned(call));
        }
        if !is_wanted {
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

fn take_in<D: Processor>(
    desk: &Arc<D>,
    delivery: Delivery,
    pace: &mut InlinePolicy,
    running: &mut JoinSet<()>,
) {
    let mut handling = Box::pin(desk.clone().handle(delivery));
    // It is polled again by the task that it gets if it is not done at once, so nobody needs to be
    // woken for it.
    let mut nobody = Context::from_waker(Waker::noop());
    if pace.begin_here() && pace.time(|| handling.as_mut().poll(&mut nobody)).is_ready() {
        return;
    }
    running.spawn(handling);
}

/// Lets what runs finish, and turns down what the backend could not hand back.
async fn wind_up<D: Processor>(
    desk: &Arc<D>,
    receiver: &mut Receiver,
    window: Window,
    running: &mut JoinSet<()>,
) {
    let mut open = true;
    while !running.is_empty() || (open && D::TAKES_THE_REST) {
        let is_wanted = open && running.len() < window.messages();
        tokio::select! {
            biased;
            next = next(receiver, is_wanted) => match next {
                Next::Delivery(delivery) => drop(running.spawn(desk.clone().turn_down(delivery))),
                Next::Unreadable(error) => desk.reject(&error),
                Next::Abandoned(call) => desk.abandon(call),
                Next::End => open = false,
            },
            Some(_) = running.join_next() => {}
        }
    }
}

/// How far an end is. Clones are the same end's.
#[derive(Clone)]
pub(crate) struct Lifecycle(Arc<watch::Sender<Phase>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Stopped,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }

    /// Says that the end is to drain.
    pub(crate) fn begin_to_drain(&self) {
        self.0.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Draining;
            }
            serving
        });
    }

    /// Says that the end is to drain, and waits until it has stopped.
    pub(crate) async fn drain(&self) {
        self.begin_to_drain();
        // The sender lives in `self`, so the only way out is the phase.
        let _ = self.0.subscribe().wait_for(|phase| *phase == Phase::Stopped).await;
    }

    fn is_serving(&self) -> bool {
        *self.0.borrow() == Phase::Serving
    }

    async fn left_serving(&self) {
        drop(self.0.subscribe().wait_for(|phase| *phase != Phase::Serving).await);
    }
}

/// Being open; whoever drops it says that the end has stopped, whether it has ever begun to run or
/// not.
pub(crate) struct StopGuard(Lifecycle);

impl StopGuard {
    pub(crate) fn new(phase: &Lifecycle) -> Self {
        Self(phase.clone())
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.0.send_replace(Phase::Stopped);
    }
}

/// Counts a delivery as running for as long as it lives.
pub(crate) struct InFlightGuard<'a>(&'a AtomicU64);

impl<'a> InFlightGuard<'a> {
    pub(crate) fn enter(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a panic had to say, and never where it came from.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let message = panic.downcast_ref::<&str>().copied();
    message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
