//! Flaws of receiving: deliveries that are missed, reordered, or received by a ghost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{
    Delivery, Filters, Inbound, Outbound, Outcome, Receiver, Sender, Sending,
};
use polywire_core::{Message, Result};

use crate::flaw::{Flaw, Halves};
use crate::halves::{received, settled};

/// Misses the deliveries that arrive before the first poll.
#[derive(Clone)]
pub(crate) struct MissesTheFirst;

impl Flaw for MissesTheFirst {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, missing_the_first(receiver))
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (missing_the_first(receiver), filters)
    }
}

fn missing_the_first(receiver: Receiver) -> Receiver {
    let mut is_polled = false;
    polled(receiver, move |receiver, cx| {
        if !std::mem::replace(&mut is_polled, true) {
            while let Poll::Ready(Some(item)) = poll(receiver, cx) {
                item.unwrap().receipt.ack();
            }
        }
        poll(receiver, cx)
    })
}

/// Delivers the latest of the jobs that wait first.
#[derive(Clone)]
pub(crate) struct LastFirst;

impl Flaw for LastFirst {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        let mut waiting = Vec::new();
        polled(receiver, move |receiver, cx| {
            while let Poll::Ready(Some(item)) = poll(receiver, cx) {
                waiting.push(item);
            }
            waiting.pop().map_or(Poll::Pending, |item| Poll::Ready(Some(item)))
        })
    }
}

/// Ends a stream after a job was discarded or dead-lettered.
#[derive(Clone)]
pub(crate) struct EndsAfterBadJobs;

impl Flaw for EndsAfterBadJobs {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let receiver = settled(receiver, move |outcome| {
            if matches!(outcome, Outcome::Discard | Outcome::DeadLetter(_)) {
                over.store(true, Ordering::SeqCst);
            }
            outcome
        });
        polled(receiver, move |receiver, cx| {
            if is_over.load(Ordering::SeqCst) { Poll::Ready(None) } else { poll(receiver, cx) }
        })
    }
}

/// Delivers a job that was given up again as a new one, three times in all.
#[derive(Clone, Default)]
pub(crate) struct RequeuesGivenUp(Arc<AtomicU32>);

impl Flaw for RequeuesGivenUp {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        let requeues = self.0.clone();
        let receiver = settled(receiver, move |outcome| match outcome {
            Outcome::Discard | Outcome::DeadLetter(_)
                if requeues.fetch_add(1, Ordering::SeqCst) < 3 =>
            {
                Outcome::Requeue
            }
            outcome => outcome,
        });
        received(receiver, |item| item.map(|delivery| delivery.attempt(1)))
    }
}

/// Keeps consuming jobs for a puller that is gone.
#[derive(Clone)]
pub(crate) struct GhostConsumer;

impl Flaw for GhostConsumer {
    fn pushing(&self, sender: Sender) -> Sender {
        Sender::new(Yielding(sender))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        Receiver::new(Haunted(Some(receiver)))
    }
}

/// A sender that gives other tasks a turn after each message, so that the ghost comes first.
struct Yielding(Sender);

impl Outbound for Yielding {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async {
            self.0.send(message).await?;
            tokio::task::yield_now().await;
            Ok(())
        })
    }
}

struct Haunted(Option<Receiver>);

impl Stream for Haunted {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Some(receiver) => poll(receiver, cx),
            None => Poll::Ready(None),
        }
    }
}

impl Inbound for Haunted {
    fn stop(mut self: Pin<&mut Self>) {
        let Some(mut receiver) = self.0.take() else { return };
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = receiver.next().await {
                delivery.receipt.ack();
            }
        });
    }
}

/// Yields nothing after the first job.
#[derive(Clone)]
pub(crate) struct SilentAfterTheFirst;

impl Flaw for SilentAfterTheFirst {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        let mut has_yielded = false;
        polled(receiver, move |receiver, cx| {
            if has_yielded {
                return Poll::Pending;
            }
            let next = poll(receiver, cx);
            has_yielded = next.is_ready();
            next
        })
    }
}

/// Polls a receiving half.
fn poll(receiver: &mut Receiver, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
    Pin::new(receiver).poll_next(cx)
}

/// A receiving half that yields nothing.
pub(crate) fn silent(receiver: Receiver) -> Receiver {
    polled(receiver, |_, _| Poll::Pending)
}

/// A receiving half whose polls are those of a function.
pub(crate) fn polled<P>(receiver: Receiver, next: P) -> Receiver
where
    P: FnMut(&mut Receiver, &mut Context<'_>) -> Poll<Option<Result<Delivery>>>,
    P: Unpin + Send + 'static,
{
    Receiver::new(Polled { receiver, next })
}

struct Polled<P> {
    receiver: Receiver,
    next: P,
}

impl<P> Stream for Polled<P>
where
    P: FnMut(&mut Receiver, &mut Context<'_>) -> Poll<Option<Result<Delivery>>> + Unpin,
{
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        (this.next)(&mut this.receiver, cx)
    }
}

impl<P> Inbound for Polled<P>
where
    P: FnMut(&mut Receiver, &mut Context<'_>) -> Poll<Option<Result<Delivery>>>,
    P: Unpin + Send + 'static,
{
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
    }
}
