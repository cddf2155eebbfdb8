//! A transport with outages on demand.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::health::HealthReader;
use crate::message::{Address, CallId, Message};
use crate::transport::{Asked, GetOnSent, Question, ServerAddress};
use crate::transport::{
    Capabilities, Filters, Outbound, Receiver, Sender, Sending, Subscription, Window,
};
use crate::transport::{DeadLetterQueue, DeadLetterSource, Transport};

/// A transport whose next sends fail, are lost, or are delayed, as in an outage of a broker.
///
/// Every send through an endpoint handle of this transport counts, including replies. Open the
/// handles of the other side on the inner transport, for instance on a
/// [`peer`](crate::Memory::peer). Clones share the script of disruptions.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Router, Server};
/// use polywire_core::middleware::Retry;
/// use polywire_core::testing::FlakyTransport;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), CallError> {
/// let memory = Memory::new();
/// let server = Server::bind(&memory, "doubler").await?;
/// tokio::spawn(
///     server.serve(Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) })),
/// );
///
/// let transport = FlakyTransport::over(memory.peer());
/// let client = Client::connect(&transport, "doubler", MessagePack).await?.layer(&Retry::new());
/// transport.fail_next(2);
/// assert_eq!(client.call::<i64>("double", &4).await?, 8);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FlakyTransport<T> {
    transport: T,
    script: Arc<Script>,
}

/// The disruptions of the next sends, in order, each with the number of sends.
#[derive(Default)]
struct Script(Mutex<VecDeque<(Disruption, usize)>>);

#[derive(Clone, Copy)]
enum Disruption {
    Fail,
    Lose,
    Delay(Duration),
}

impl<T: Transport> FlakyTransport<T> {
    /// Wraps `transport`, without disruptions so far.
    pub fn over(transport: T) -> Self {
        Self { transport, script: Arc::default() }
    }

    /// Fails the next `sends` sends as [`ErrorKind::Disconnected`] and unsent.
    pub fn fail_next(&self, sends: usize) {
        self.script.add(Disruption::Fail, sends);
    }

    /// Loses the next `sends` messages, though their sends succeed.
    pub fn lose_next(&self, sends: usize) {
        self.script.add(Disruption::Lose, sends);
    }

    /// Delays the next `sends` messages by this long.
    pub fn delay_next(&self, sends: usize, by: Duration) {
        self.script.add(Disruption::Delay(by), sends);
    }

    /// Returns the number of disruptions that are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.script.lock().iter().fold(0, |sum, (_, sends)| sum.saturating_add(*sends))
    }

    fn wrap(&self, sender: Sender) -> Sender {
        Sender::new(FlakySender { sender, script: self.script.clone() })
    }
}

impl Script {
    fn add(&self, disruption: Disruption, times: usize) {
        if times > 0 {
            self.lock().push_back((disruption, times));
        }
    }

    /// Takes the disruption of the next send.
    fn next(&self) -> Option<Disruption> {
        let mut disruptions = self.lock();
        let (disruption, times) = disruptions.front_mut()?;
        let next = *disruption;
        *times -= 1;
        if *times == 0 {
            disruptions.pop_front();
        }
        Some(next)
    }

    // No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Disruption, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sender whose next sends are disrupted.
struct FlakySender {
    sender: Sender,
    script: Arc<Script>,
}

#[deny(clippy::missing_trait_methods)]
impl Outbound for FlakySender {
    fn send(&self, message: Message) -> Sending<'_> {
        let disruption = self.script.next();
        match disruption {
            None => self.sender.send(message),
            Some(Disruption::Fail) => {
                let error =
                    Error::new(ErrorKind::Disconnected, "cannot send: the connection is disrupted");
                Sending::ready(Err(error.unsent()))
            }
            Some(Disruption::Lose) => Sending::ready(Ok(())),
            Some(Disruption::Delay(by)) => Sending::later(async move {
                tokio::time::sleep(by).await;
                self.sender.send(message).await
            }),
        }
    }

    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        self.send(*message)
    }

    fn send_call(&self, message: Box<Message>) -> Sending<'_> {
        self.send(*message)
    }

    /// The future has the disruption, so nothing is taken over.
    fn send_then<'a>(&'a self, message: Box<Message>, _: GetOnSent<'_>) -> Sending<'a> {
        self.send(*message)
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

// Methods with a default must be delegated, too.
#[deny(clippy::missing_trait_methods)]
impl<T: Transport> Transport for FlakyTransport<T> {
    fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let (sender, receiver) = self.transport.requester(service).await?;
        Ok((self.wrap(sender), receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let (sender, receiver) = self.transport.responder(service, window).await?;
        Ok((self.wrap(sender), receiver))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.transport.pusher(queue).await.map(|sender| self.wrap(sender))
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.transport.puller(queue, window).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.transport.publisher(channel).await.map(|sender| self.wrap(sender))
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

impl<T> fmt::Debug for FlakyTransport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlakyTransport")
            .field("left", &self.script.lock().len())
            .finish_non_exhaustive()
    }
}
