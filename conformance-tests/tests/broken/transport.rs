//! The transport of a broken backend: memory, a flaw, and the network around both.

use polywire_core::health::{ConnectionState, EndpointRole, HealthReader, HealthReporter};
use polywire_core::transport::{
    DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
};
use polywire_core::{Address, Capabilities, Memory, Result, Transport, Window};

use crate::flaw::{Flaw, Halves};
use crate::health::ReportedReceiver;
use crate::network::Network;

/// A transport in memory, with a flaw.
pub(crate) struct BrokenTransport<F> {
    pub(crate) memory: Memory,
    pub(crate) flaw: F,
    pub(crate) network: Network,
    pub(crate) health: HealthReporter,
}

impl<F: Flaw> BrokenTransport<F> {
    fn check(&self, pattern: &'static str) -> Result<()> {
        self.flaw.refuses(pattern).map_or(Ok(()), Err)
    }

    fn reported(&self, receiver: Receiver, role: EndpointRole, name: &Address) -> Receiver {
        let health = (&self.health, &self.memory);
        ReportedReceiver::wrap(receiver, health, (role, name), self.flaw.health())
    }
}

impl<F: Flaw> Transport for BrokenTransport<F> {
    fn capabilities(&self) -> Capabilities {
        self.flaw.capabilities()
    }

    async fn requester(&self, service: &Address) -> Result<Halves> {
        let (requests, replies) =
            self.flaw.calling(self.memory.requester(&self.flaw.name(service)?).await?);
        Ok((self.flaw.calling_locally(self.network.to_server(requests)), replies))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<Halves> {
        let halves =
            self.memory.responder(&self.flaw.name(service)?, self.flaw.window(window)).await?;
        let (replies, requests) = self.flaw.serving(halves);
        let requests = self.reported(requests, EndpointRole::Responder, service);
        Ok((self.network.to_client(replies), requests))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.check("pipeline")?;
        let sender = self.flaw.pushing(self.memory.pusher(&self.flaw.name(queue)?).await?);
        Ok(self.flaw.pushing_locally(self.network.one_way(sender)))
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.check("pipeline")?;
        let receiver =
            self.memory.puller(&self.flaw.name(queue)?, self.flaw.window(window)).await?;
        let receiver = self.network.deliveries(self.flaw.pulling(receiver));
        Ok(self.reported(receiver, EndpointRole::Puller, queue))
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.check("pubsub")?;
        let sender = self.flaw.pushing(self.memory.publisher(&self.flaw.name(channel)?).await?);
        Ok(self.flaw.publishing_locally(self.network.one_way(sender)))
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.check("pubsub")?;
        if let Some(group) = &subscription.group {
            self.check(if group.is_durable() { "durable_groups" } else { "groups" })?;
        }
        let subscription = self.flaw.subscription(subscription);
        let (receiver, filters) =
            self.memory.subscriber(&self.flaw.name(channel)?, subscription).await?;
        let (receiver, filters) = self.flaw.subscribing(receiver, filters);
        Ok((self.reported(receiver, EndpointRole::Subscriber, channel), filters))
    }

    async fn dead_letters(&self, source: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.check("dead_letters")?;
        match self.memory.dead_letters(source).await {
            Ok(session) => Ok(self.flaw.dead_letters(session)),
            Err(error) => self.flaw.no_dead_letters(error),
        }
    }

    fn health(&self) -> HealthReader {
        self.health.reader()
    }

    async fn close(&self) -> Result<()> {
        self.health.set_connection(ConnectionState::Closed);
        self.flaw.close(&self.memory).await
    }
}
