//! Halves of endpoint handles that change the messages through them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{
    Abandoned, Answer, Delivery, Inbound, Outbound, Outcome, Receipt, Receiver, Sender, Sending,
    ServerNotice, Settle,
};
use polywire_core::{Error, Message, Result};

/// A sending half that sends the messages that `alter` makes of each: none, one, or several.
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

/// A sending half that reports another result of each send.
pub(crate) fn reported(
    inner: Sender,
    report: impl Fn(Result<()>) -> Result<()> + Send + Sync + 'static,
) -> Sender {
    Sender::new(Reported { inner, report })
}

struct Reported<R> {
    inner: Sender,
    report: R,
}

impl<R: Fn(Result<()>) -> Result<()> + Send + Sync + 'static> Outbound for Reported<R> {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async move { (self.report)(self.inner.send(message).await) })
    }
}

/// A sending half that refuses the messages for which `refusal` returns an error.
pub(crate) fn refused(
    inner: Sender,
    refusal: impl Fn(&Message) -> Option<Error> + Send + Sync + 'static,
) -> Sender {
    Sender::new(Refused { inner, refusal })
}

struct Refused<R> {
    inner: Sender,
    refusal: R,
}

impl<R: Fn(&Message) -> Option<Error> + Send + Sync + 'static> Outbound for Refused<R> {
    fn send(&self, message: Message) -> Sending<'_> {
        match (self.refusal)(&message) {
            Some(error) => Sending::ready(Err(error)),
            None => self.inner.send(message),
        }
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

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.inner.poll_answer(cx)
    }

    fn poll_notice(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        self.inner.poll_notice(cx)
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.inner.poll_abandoned(cx)
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_read_ahead(cx)
    }
}

/// A receiving half whose deliveries are settled with the outcome that `alter` makes of each.
pub(crate) fn settled(
    inner: Receiver,
    alter: impl Fn(Outcome) -> Outcome + Clone + Unpin + Send + Sync + 'static,
) -> Receiver {
    received(inner, move |item| {
        item.map(|mut delivery| {
            let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
            let settled = Settled { receipt: Mutex::new(Some(receipt)), alter: alter.clone() };
            delivery.receipt = Receipt::new(Arc::new(settled), 0);
            delivery
        })
    })
}

struct Settled<A> {
    receipt: Mutex<Option<Receipt>>,
    alter: A,
}

impl<A: Fn(Outcome) -> Outcome + Send + Sync + 'static> Settle for Settled<A> {
    fn settle(&self, _: u64, outcome: Outcome) {
        let receipt = self.receipt.lock().unwrap().take().unwrap();
        receipt.settle((self.alter)(outcome));
    }
}
