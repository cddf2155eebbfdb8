//! Outages on demand.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, CallId, Message};
use crate::transport::{
    Capabilities, Filters, Outbound, Receiver, Sender, Sending, Subscription, Window,
};
use crate::transport::{DeadLetterQueue, DeadLetterSource, Transport};

/// A transport whose next sends fail, are lost, or are late, as they would be when a broker goes
/// away.
///
/// What is sent through any end that it opened counts, replies included: open the other side's ends
/// by the transport itself, such as a [`peer`](crate::Memory::peer). Clones share the script.
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
/// tokio::spawn(server.serve(Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) })));
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

#[derive(Default)]
struct Script(Mutex<VecDeque<Disruption>>);

#[derive(Clone, Copy)]
enum Disruption {
    Fail,
    Lose,
    Delay(Duration),
}

impl<T: Transport> FlakyTransport<T> {
    /// `transport`, and no hiccups yet.
    pub fn over(transport: T) -> Self {
        Self { transport, script: Arc::default() }
    }

    /// The next `sends` fail, as [`ErrorKind::Disconnected`] and unsent.
    pub fn fail_next(&self, sends: usize) {
        self.script.add(Disruption::Fail, sends);
    }

    /// The next `sends` succeed, and never arrive.
    pub fn lose_next(&self, sends: usize) {
        self.script.add(Disruption::Lose, sends);
    }

    /// The next `sends` are late by this much.
    pub fn delay_next(&self, sends: usize, by: Duration) {
        self.script.add(Disruption::Delay(by), sends);
    }

    /// How many hiccups are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.script.lock().len()
    }

    fn wrap(&self, sender: Sender) -> Sender {
        Sender::new(FlakySender { sender, script: self.script.clone() })
    }
}

impl Script {
    fn add(&self, hiccup: Disruption, times: usize) {
        self.lock().extend(std::iter::repeat_n(hiccup, times));
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Disruption>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct FlakySender {
    sender: Sender,
    script: Arc<Script>,
}

#[deny(clippy::missing_trait_methods)]
impl Outbound for FlakySender {
    fn send(&self, message: Message) -> Sending<'_> {
        let hiccup = self.script.lock().pop_front();
        match hiccup {
            None => self.sender.send(message),
            Some(Disruption::Fail) => {
                let error = Error::new(ErrorKind::Disconnected, "the link has a hiccup");
                Sending::ready(Err(error.unsent()))
            }
            Some(Disruption::Lose) => Sending::ready(Ok(())),
            Some(Disruption::Delay(by)) => Sending::later(async move {
                tokio::time::sleep(by).await;
                self.sender.send(message).await
            }),
        }
    }

    fn abandon(&self, call: CallId) {
        self.sender.abandon(call);
    }
}

// A method with a default must be passed on, too.
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

    async fn dead_letters(&self, origin: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.transport.dead_letters(origin).await
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
