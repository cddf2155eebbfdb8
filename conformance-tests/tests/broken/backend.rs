//! Memory, with a flaw.

use polywire_conformance::{Backend, Hook, Space};
use polywire_core::transport::{
    DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
};
use polywire_core::{
    Address, AnyTransport, Capabilities, Limits, Memory, Result, Transport, Window,
};

/// What a broken backend does otherwise than memory. By default nothing.
pub(crate) trait Flaw: Clone + Send + Sync + 'static {
    /// What bounds messages, whatever the capabilities say.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// What it says that it can do.
    fn capabilities(&self) -> Capabilities {
        Memory::new().capabilities()
    }

    /// How wide the window of a serving end is.
    fn window(&self, asked: Window) -> Window {
        asked
    }

    /// A calling end.
    fn calling(&self, end: End) -> End {
        end
    }

    /// A serving end.
    fn serving(&self, end: End) -> End {
        end
    }

    /// Suffers a disturbance. Memory itself has nothing that could break.
    fn disturb(&self) {}

    /// A pushing or a publishing end.
    fn pushing(&self, sender: Sender) -> Sender {
        sender
    }

    /// A pulling end.
    fn pulling(&self, receiver: Receiver) -> Receiver {
        receiver
    }

    /// What is subscribed to.
    fn wish(&self, subscription: Subscription) -> Subscription {
        subscription
    }

    /// A subscribing end.
    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (receiver, filters)
    }

    /// Somebody who looks after dead letters.
    fn keeping(&self, graveyard: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        graveyard
    }

    /// Closes.
    fn close(&self, memory: &Memory) -> impl Future<Output = Result<()>> + Send {
        memory.close()
    }
}

pub(crate) type End = (Sender, Receiver);

/// No flaw at all.
#[derive(Clone)]
pub(crate) struct Sound;

impl Flaw for Sound {}

/// Says that it can do the least, which is no flaw.
#[derive(Clone)]
pub(crate) struct Least;

impl Flaw for Least {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Limits::default().body_max)
    }
}

/// The backend with this flaw.
pub(crate) struct Broken<F>(pub(crate) F);

impl<F: Flaw> Backend for Broken<F> {
    type Space = World<F>;

    fn name(&self) -> String {
        "broken".to_owned()
    }

    async fn space(&self) -> Result<World<F>> {
        Ok(World { memory: Memory::new().with_limits(self.0.limits()), flaw: self.0.clone() })
    }
}

/// A world in memory, or a transport in it.
pub(crate) struct World<F> {
    memory: Memory,
    flaw: F,
}

impl<F: Flaw> World<F> {
    fn transport(&self) -> AnyTransport {
        AnyTransport::new(Self { memory: self.memory.peer(), flaw: self.flaw.clone() })
    }
}

impl<F: Flaw> Space for World<F> {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(self.transport())
    }

    async fn calling(&self) -> Result<AnyTransport> {
        Ok(self.transport())
    }

    fn hooks(&self) -> Vec<Hook> {
        vec![Hook::Sever, Hook::CutMidFrame]
    }

    async fn disturb(&self, _: Hook) -> Result<()> {
        self.flaw.disturb();
        Ok(())
    }
}

impl<F: Flaw> Transport for World<F> {
    fn capabilities(&self) -> Capabilities {
        self.flaw.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<End> {
        Ok(self.flaw.calling(self.memory.requester(service).await?))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<End> {
        Ok(self.flaw.serving(self.memory.responder(service, self.flaw.window(window)).await?))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        Ok(self.flaw.pushing(self.memory.pusher(queue).await?))
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        Ok(self.flaw.pulling(self.memory.puller(queue, self.flaw.window(window)).await?))
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        Ok(self.flaw.pushing(self.memory.publisher(channel).await?))
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        let (receiver, filters) =
            self.memory.subscriber(channel, self.flaw.wish(subscription)).await?;
        Ok(self.flaw.subscribing(receiver, filters))
    }

    async fn dead_letters(&self, origin: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        Ok(self.flaw.keeping(self.memory.dead_letters(origin).await?))
    }

    async fn close(&self) -> Result<()> {
        self.flaw.close(&self.memory).await
    }
}
