//! Halves of ends that do something else.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Message, Result};

/// A sending half that sends what `alter` makes of each message: none, one, or several.
pub(crate) fn altered(
    inner: Sender,
    alter: impl Fn(Message) -> Vec<Message> + Send + Sync + 'static,
) -> Sender {
    Sender::new(Altered { inner, alter })
}

struct Altered<A> {
    inner: Sender,
    alter: A,
}

impl<A: Fn(Message) -> Vec<Message> + Send + Sync + 'static> Outbound for Altered<A> {
    fn send(&self, message: Message) -> Sending<'_> {
        let messages = (self.alter)(message);
        Sending::later(async move {
            for message in messages {
                self.inner.send(message).await?;
            }
            Ok(())
        })
    }
}

/// A receiving half that yields what `alter` makes of each item.
pub(crate) fn received(
    inner: Receiver,
    alter: impl FnMut(Result<Delivery>) -> Result<Delivery> + Unpin + Send + 'static,
) -> Receiver {
    Receiver::new(Received { inner, alter })
}

struct Received<A> {
    inner: Receiver,
    alter: A,
}

impl<A: FnMut(Result<Delivery>) -> Result<Delivery> + Unpin> Stream for Received<A> {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.inner).poll_next(cx);
        next.map(|item| item.map(|item| (self.alter)(item)))
    }
}

impl<A: FnMut(Result<Delivery>) -> Result<Delivery> + Unpin + Send + 'static> Inbound
    for Received<A>
{
    fn stop(mut self: Pin<&mut Self>) {
        self.inner.stop();
    }
}
