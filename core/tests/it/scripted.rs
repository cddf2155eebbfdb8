//! A transport whose peer is the test itself.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::health::{ConnectionState, EndpointReporter, HealthReader, HealthReporter};
use polywire_core::message::CallId;
use polywire_core::transport::{
    Delivery, FilterControl, Filters, Inbound, Outbound, Outcome, Receiver, Sender, Sending,
    Settle, Subscription, async_trait,
};
use polywire_core::{
    Address, Capabilities, Error, ErrorKind, Filter, Message, Result, Transport, Window,
};
use tokio::sync::mpsc;

/// A transport whose sent messages go to the test, and whose deliveries come from the test.
pub(crate) struct Scripted {
    sent: mpsc::UnboundedSender<Message>,
    /// The outcome of each send.
    send: fn() -> Sending<'static>,
    pub(crate) can: Capabilities,
    pub(crate) health: HealthReporter,
    /// The reporter of the connection of each name, if that is not the one of the transport.
    pub(crate) health_of_names: Option<HealthReporter>,
    /// The reporter of its handles, if the test has one.
    pub(crate) endpoint: Option<EndpointReporter>,
    incoming: Mutex<Option<mpsc::UnboundedReceiver<Result<Delivery>>>>,
}

/// The test's side of a [`Scripted`] transport.
pub(crate) struct Script {
    pub(crate) sent: mpsc::UnboundedReceiver<Message>,
    pub(crate) incoming: mpsc::UnboundedSender<Result<Delivery>>,
}

impl Scripted {
    pub(crate) fn new(send: fn() -> Sending<'static>) -> (Self, Script) {
        let ((sent, out), (deliver, incoming)) =
            (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        (
            Self {
                sent,
                send,
                can: Capabilities::least(1 << 20),
                health: HealthReporter::new(ConnectionState::Unknown),
                health_of_names: None,
                endpoint: None,
                incoming: Mutex::new(Some(incoming)),
            },
            Script { sent: out, incoming: deliver },
        )
    }

    fn halves(&self) -> Result<(Sender, Receiver)> {
        let incoming = self.incoming.lock().unwrap().take().unwrap();
        Ok((
            Sender::new(ScriptedOutbound(self.sent.clone(), self.send)),
            Receiver::new(ScriptedInbound(incoming, self.endpoint.clone())),
        ))
    }
}

impl Transport for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    async fn requester(&self, _: &Address) -> Result<(Sender, Receiver)> {
        self.halves()
    }

    async fn responder(&self, _: &Address, _: Window) -> Result<(Sender, Receiver)> {
        self.halves()
    }

    async fn pusher(&self, _: &Address) -> Result<Sender> {
        self.halves().map(|(sender, _)| sender)
    }

    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        self.halves().map(|(_, receiver)| receiver)
    }

    async fn publisher(&self, _: &Address) -> Result<Sender> {
        self.halves().map(|(sender, _)| sender)
    }

    async fn subscriber(&self, _: &Address, _: Subscription) -> Result<(Receiver, Filters)> {
        self.halves().map(|(_, receiver)| (receiver, Filters::new(IgnoreFilters)))
    }

    fn health(&self) -> HealthReader {
        self.health.reader()
    }

    fn health_of(&self, _: &Address) -> HealthReader {
        self.health_of_names.as_ref().unwrap_or(&self.health).reader()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct ScriptedOutbound(mpsc::UnboundedSender<Message>, fn() -> Sending<'static>);

impl Outbound for ScriptedOutbound {
    fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message).unwrap();
        self.1()
    }
}

struct ScriptedInbound(mpsc::UnboundedReceiver<Result<Delivery>>, Option<EndpointReporter>);

impl Stream for ScriptedInbound {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

impl Inbound for ScriptedInbound {
    fn health(&self) -> Option<EndpointReporter> {
        self.1.clone()
    }

    fn stop(self: Pin<&mut Self>) {}
}

/// A control that accepts every change of filters, and does nothing.
struct IgnoreFilters;

#[async_trait]
impl FilterControl for IgnoreFilters {
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

pub(crate) fn connection_lost() -> Sending<'static> {
    Sending::ready(Err(Error::new(ErrorKind::Disconnected, "the connection is lost")))
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
    pub(crate) fn deliver(&self, delivery: Delivery) {
        self.incoming.send(Ok(delivery)).unwrap();
    }
}

/// Log of settled deliveries.
#[derive(Default)]
pub(crate) struct SettleLog(pub(crate) Mutex<Vec<(u64, Outcome)>>);

impl Settle for SettleLog {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.0.lock().unwrap().push((tag, outcome));
    }
}
