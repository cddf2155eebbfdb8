//! Transport that sends the description of its program along with each message.

use bytestring::ByteString;

use super::{
    Asked, Capabilities, DeadLetterQueue, DeadLetterSource, Filters, GetOnSent, Outbound, Question,
    Receiver, Sender, Sending, ServerAddress, Subscription, Transport, Window,
};
use crate::error::Result;
use crate::health::HealthReader;
use crate::message::{Address, CallId, Instance, Message};

/// Transport whose handles send an [`Instance`] along with each message: requests, replies, jobs
/// and events.
///
/// A handler reads it by [`Context::sender`](crate::Context::sender). Messages are otherwise those
/// of the wrapped transport, whose handles send no instance. A message grows by one header, of at
/// most [`Instance::TEXT_MAX`] bytes, in place of an earlier header of that name.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::transport::Identified;
/// use polywire_core::{CallError, Client, Context, Instance, Memory, Router, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let router = Router::new(MessagePack).method("who", async |context: Context, (): ()| {
///     Ok(context.sender().map(|sender| sender.name().to_owned()))
/// });
/// tokio::spawn(Server::bind(&transport, "names").await?.serve(router));
///
/// let identified = Identified::new(transport, &Instance::new("front")?);
/// let client = Client::connect(&identified, "names", MessagePack).await?;
/// assert_eq!(client.call::<Option<String>>("who", &()).await?.as_deref(), Some("front"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Identified<T> {
    transport: T,
    header: ByteString,
}

impl<T: Transport> Identified<T> {
    /// Wraps `transport`, to send `instance` along with each message.
    #[must_use]
    pub fn new(transport: T, instance: &Instance) -> Self {
        Self { transport, header: instance.to_header() }
    }

    /// Returns the wrapped transport, whose handles send no instance.
    #[must_use]
    pub fn inner(&self) -> &T {
        &self.transport
    }

    fn identified(&self, sender: Sender) -> Sender {
        Sender::new(IdentifiedSender { sender, header: self.header.clone() })
    }
}

impl<T: Transport> Transport for Identified<T> {
    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let (sender, receiver) = self.transport.requester(service).await?;
        Ok((self.identified(sender), receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let (sender, receiver) = self.transport.responder(service, window).await?;
        Ok((self.identified(sender), receiver))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        Ok(self.identified(self.transport.pusher(queue).await?))
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.transport.puller(queue, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        Ok(self.identified(self.transport.publisher(channel).await?))
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.transport.subscriber(channel, subscription).await
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.transport.dead_letters(source).await
    }

    async fn waiting_retries(&self, source: &DeadLetterSource) -> Result<u64> {
        self.transport.waiting_retries(source).await
    }

    fn health(&self) -> HealthReader {
        self.transport.health()
    }

    fn health_of(&self, name: &Address) -> HealthReader {
        self.transport.health_of(name)
    }

    async fn close(&self) -> Result<()> {
        self.transport.close().await
    }
}

/// Sender that adds the header to each message.
struct IdentifiedSender {
    sender: Sender,
    header: ByteString,
}

impl IdentifiedSender {
    fn identify(&self, message: &mut Message) {
        message.headers.insert(ByteString::from_static(Instance::HEADER), self.header.clone());
    }
}

impl Outbound for IdentifiedSender {
    fn send(&self, mut message: Message) -> Sending<'_> {
        self.identify(&mut message);
        self.sender.send(message)
    }

    fn send_boxed(&self, mut message: Box<Message>) -> Sending<'_> {
        self.identify(&mut message);
        self.sender.send_boxed(message)
    }

    fn send_call(&self, mut message: Box<Message>) -> Sending<'_> {
        self.identify(&mut message);
        self.sender.send_call(message)
    }

    fn send_then<'a>(&'a self, mut message: Box<Message>, then: GetOnSent<'_>) -> Sending<'a> {
        self.identify(&mut message);
        self.sender.send_then(message, then)
    }

    fn is_unsent_when_dropped(&self) -> bool {
        self.sender.is_unsent_when_dropped()
    }

    fn abandon(&self, call: CallId) {
        self.sender.abandon(call);
    }

    fn expire(&self, call: CallId) {
        self.sender.expire(call);
    }

    fn ask(&self, question: &Question) -> bool {
        self.sender.ask(question)
    }

    fn answer(&self, asked: &Asked, is_permitted: bool) {
        self.sender.answer(asked, is_permitted);
    }

    fn check(&self, server: &ServerAddress) {
        self.sender.check(server);
    }
}
