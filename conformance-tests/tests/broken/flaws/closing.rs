//! Flaws of closing: it hangs, does nothing, closes too little or too much.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound, Receiver};
use polywire_core::{Error, ErrorKind, Memory, Result, Transport};

use crate::flaw::{Flaw, Halves};
use crate::halves::reported;

/// Never ends to close.
#[derive(Clone)]
pub(crate) struct HangsOnClose;

impl Flaw for HangsOnClose {
    async fn close(&self, _: &Memory) -> Result<()> {
        std::future::pending().await
    }
}

/// Closes nothing.
#[derive(Clone)]
pub(crate) struct NeverCloses;

impl Flaw for NeverCloses {
    async fn close(&self, _: &Memory) -> Result<()> {
        Ok(())
    }
}

/// Keeps the stream of a closed requester open.
#[derive(Clone)]
pub(crate) struct NeverEnds;

impl Flaw for NeverEnds {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (sender, Receiver::new(Endless(receiver)))
    }
}

struct Endless(Receiver);

impl Stream for Endless {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match Pin::new(&mut self.0).poll_next(cx) {
            Poll::Ready(None) => Poll::Pending,
            next => next,
        }
    }
}

impl Inbound for Endless {
    fn stop(mut self: Pin<&mut Self>) {
        self.0.stop();
    }
}

/// Ends the stream of a closed responder with an error.
#[derive(Clone)]
pub(crate) struct FailsOnClose;

impl Flaw for FailsOnClose {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, Receiver::new(Failing(receiver)))
    }
}

struct Failing(Receiver);

impl Stream for Failing {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(cx);
        let lost = || Error::new(ErrorKind::Disconnected, "the connection is lost").fatal();
        next.map(|item| item.or_else(|| Some(Err(lost()))))
    }
}

impl Inbound for Failing {
    fn stop(mut self: Pin<&mut Self>) {
        self.0.stop();
    }
}

/// Yields the deliveries that it had fetched, after it was closed.
#[derive(Clone)]
pub(crate) struct DeliversAfterClose;

impl Flaw for DeliversAfterClose {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, Receiver::new(Fetching { receiver, fetched: VecDeque::new() }))
    }
}

struct Fetching {
    receiver: Receiver,
    fetched: VecDeque<Result<Delivery>>,
}

impl Stream for Fetching {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match Pin::new(&mut self.receiver).poll_next(cx) {
                Poll::Ready(Some(item)) => self.fetched.push_back(item),
                Poll::Pending if self.fetched.is_empty() => return Poll::Pending,
                _ => return Poll::Ready(self.fetched.pop_front()),
            }
        }
    }
}

impl Inbound for Fetching {
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
        self.fetched.clear();
    }
}

/// Closes every requester of the space, whichever transport is closed.
#[derive(Clone, Default)]
pub(crate) struct ClosesOthers(Arc<Mutex<bool>>);

impl Flaw for ClosesOthers {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let is_closed = self.0.clone();
        let report = move |sent: Result<()>| {
            if *is_closed.lock().unwrap() {
                return Err(Error::new(
                    ErrorKind::Closed,
                    "cannot use the transport: it is closed",
                )
                .unsent());
            }
            sent
        };
        (reported(sender, report), receiver)
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        *self.0.lock().unwrap() = true;
        memory.close().await
    }
}
