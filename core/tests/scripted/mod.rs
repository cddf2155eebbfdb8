//! A transport whose ends a test holds in its hands.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::message::CallId;
use polywire_core::transport::{
    Delivery, FilterControl, Filters, Inbound, Outbound, Receiver, Sender, Sending, Subscription,
    async_trait,
};
use polywire_core::{
    Address, Capabilities, Error, ErrorKind, Filter, Message, Result, Transport, Window,
};
use tokio::sync::mpsc;

/// A transport whose ends are in the hands of the test.
pub(crate) struct Scripted {
    sent: mpsc::UnboundedSender<Message>,
    send: fn() -> Sending<'static>,
    incoming: Mutex<Option<mpsc::UnboundedReceiver<Result<Delivery>>>>,
}

/// The test's side of it.
pub(crate) struct Script {
    pub(crate) sent: mpsc::UnboundedReceiver<Message>,
    pub(crate) incoming: mpsc::UnboundedSender<Result<Delivery>>,
}

impl Scripted {
    pub(crate) fn new(send: fn() -> Sending<'static>) -> (Self, Script) {
        let ((sent, out), (deliver, incoming)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        (
            Self { sent, send, incoming: Mutex::new(Some(incoming)) },
            Script { sent: out, incoming: deliver },
        )
    }

    fn end(&self) -> Result<(Sender, Receiver)> {
        let incoming = self.incoming.lock().unwrap().take().unwrap();
        Ok((Sender::new(Out(self.sent.clone(), self.send)), Receiver::new(In(incoming))))
    }
}

impl Transport for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(1 << 20)
    }

    async fn requester(&self, _: &Address) -> Result<(Sender, Receiver)> {
        self.end()
    }

    async fn responder(&self, _: &Address, _: Window) -> Result<(Sender, Receiver)> {
        self.end()
    }

    async fn pusher(&self, _: &Address) -> Result<Sender> {
        self.end().map(|(sender, _)| sender)
    }

    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        self.end().map(|(_, receiver)| receiver)
    }

    async fn publisher(&self, _: &Address) -> Result<Sender> {
        self.end().map(|(sender, _)| sender)
    }

    async fn subscriber(&self, _: &Address, _: Subscription) -> Result<(Receiver, Filters)> {
        self.end().map(|(_, receiver)| (receiver, Filters::new(Deaf)))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct Out(mpsc::UnboundedSender<Message>, fn() -> Sending<'static>);

impl Outbound for Out {
    fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message).unwrap();
        self.1()
    }
}

struct In(mpsc::UnboundedReceiver<Result<Delivery>>);

impl Stream for In {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

impl Inbound for In {
    fn stop(self: Pin<&mut Self>) {}
}

/// Takes every change of filters, and does nothing about it.
struct Deaf;

#[async_trait]
impl FilterControl for Deaf {
    async fn add(&self, _: Filter) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, _: Filter) -> Result<()> {
        Ok(())
    }
}

pub(crate) fn sent() -> Sending<'static> {
    Sending::ready(Ok(()))
}

pub(crate) fn never_confirmed() -> Sending<'static> {
    Sending::later(std::future::pending())
}

pub(crate) fn link_lost() -> Sending<'static> {
    Sending::ready(Err(Error::new(ErrorKind::Disconnected, "the link is lost")))
}

pub(crate) fn caller_gone() -> Sending<'static> {
    Sending::ready(Err(Error::new(ErrorKind::Unroutable, "the caller is gone")))
}

impl Script {
    pub(crate) async fn request(&mut self) -> Message {
        self.sent.recv().await.unwrap()
    }

    pub(crate) fn reply(&self, id: Option<CallId>, body: &'static [u8]) {
        let mut reply = Message::new(body);
        reply.id = id;
        self.incoming.send(Ok(Delivery::settled(reply))).unwrap();
    }

    pub(crate) fn fail(&self, error: Error) {
        self.incoming.send(Err(error)).unwrap();
    }
}
