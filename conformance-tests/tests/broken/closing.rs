//! Flaws of closing: it hangs, it does nothing, or what is closed goes on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound, Receiver};
use polywire_core::{Memory, Result};

use crate::backend::{End, Flaw};

/// Closing never ends.
#[derive(Clone)]
pub(crate) struct HangsOnClose;

impl Flaw for HangsOnClose {
    async fn close(&self, _: &Memory) -> Result<()> {
        std::future::pending().await
    }
}

/// Closing does nothing.
#[derive(Clone)]
pub(crate) struct NeverCloses;

impl Flaw for NeverCloses {
    async fn close(&self, _: &Memory) -> Result<()> {
        Ok(())
    }
}

/// The stream of a closed end does not end.
#[derive(Clone)]
pub(crate) struct NeverEnds;

impl Flaw for NeverEnds {
    fn calling(&self, (sender, receiver): End) -> End {
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

/// A closed end yields what it had fetched.
#[derive(Clone)]
pub(crate) struct DeliversAfterClose;

impl Flaw for DeliversAfterClose {
    fn serving(&self, (sender, receiver): End) -> End {
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
