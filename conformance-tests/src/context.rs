//! The context of a running case: a space, and short ways to put endpoint handles into it.

pub(crate) mod any_space;
pub(crate) mod running_server;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::pubsub::SubscriberBind;
use polywire_core::rpc::{Requester, ServerBind};
use polywire_core::{
    AnyTransport, Capabilities, Client, Group, Publisher, Puller, Pusher, Server, Service,
    Subscriber, Transport, Window,
};
use serde::de::DeserializeOwned;

use self::any_space::AnySpace;
use self::running_server::RunningServer;
use crate::backend::Space;
use crate::hook::Hook;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::progress;
use crate::verdict::{Failure, Missing, OrFail, Verdict};
use crate::wait::{PATIENCE, in_time};

/// A fresh space of a backend, with short ways to open servers, clients and other endpoint handles
/// in it, and to disturb it.
///
/// Each endpoint handle is opened on a transport of its own, which stands for a process of its
/// own. Clones share the space and the notes.
#[derive(Clone)]
pub struct TestContext {
    space: Arc<dyn AnySpace>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl TestContext {
    /// A context in this space, to run one case alone:
    ///
    /// ```
    /// use polywire_conformance::{Backend, MemoryBackend, TestContext, cases};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let context = TestContext::new(MemoryBackend.space().await?);
    /// cases::calls::nested_methods_are_found(&context).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(space: impl Space) -> Self {
        Self::within(Arc::new(space))
    }

    /// A context in a space whose type is erased already.
    pub(crate) fn within(space: Arc<dyn AnySpace>) -> Self {
        Self { space, notes: Arc::default() }
    }

    /// Opens a transport for a serving process.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be opened.
    pub async fn serving(&self) -> Verdict<AnyTransport> {
        let transport = self.space.serving().await.or_fail("a serving transport opens")?;
        progress::opened("serving", transport.health());
        Ok(transport)
    }

    /// Opens a transport for a calling process.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be opened.
    pub async fn calling(&self) -> Verdict<AnyTransport> {
        let transport = self.space.calling().await.or_fail("a calling transport opens")?;
        progress::opened("calling", transport.health());
        Ok(transport)
    }

    /// Serves `service` in a process of its own, with the default window.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn serve(&self, service: impl Service) -> Verdict<RunningServer> {
        self.serve_within(Window::default(), service).await
    }

    /// Serves `service` in a process of its own, with a window.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn serve_within(
        &self,
        window: Window,
        service: impl Service,
    ) -> Verdict<RunningServer> {
        self.serve_as(service, |server| server.window(window)).await
    }

    /// Serves `service` in a process of its own, with options that a function sets.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn serve_as<F>(&self, service: impl Service, options: F) -> Verdict<RunningServer>
    where
        F: for<'t> FnOnce(ServerBind<'t, AnyTransport>) -> ServerBind<'t, AnyTransport>,
    {
        let transport = self.serving().await?;
        let server = in_time(options(Server::bind(&transport, SERVICE))).await?;
        Ok(RunningServer::start(transport, server, service))
    }

    /// Connects a client in a process of its own. It uses MessagePack.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn client(&self) -> Verdict<Client<MessagePack>> {
        self.client_on(&self.calling().await?).await
    }

    /// Connects a client on this transport. It uses MessagePack.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn client_on(&self, transport: &AnyTransport) -> Verdict<Client<MessagePack>> {
        in_time(Client::connect(transport, SERVICE, MessagePack).timeout(PATIENCE)).await
    }

    /// Opens a requester, which sends raw messages, in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn requester(&self) -> Verdict<Requester> {
        let transport = self.calling().await?;
        let service = SERVICE.try_into().or_fail("the service has a name")?;
        Requester::open(&transport, service, Requester::DEFAULT_PENDING_MAX)
            .await
            .or_fail("a requester opens")
    }

    /// Binds a puller of numbers in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn puller(&self, window: Window) -> Verdict<Puller<u32>> {
        self.puller_of(window).await
    }

    /// Binds a puller of other jobs in a process of its own.
    pub(crate) async fn puller_of<T: DeserializeOwned + 'static>(
        &self,
        window: Window,
    ) -> Verdict<Puller<T>> {
        in_time(Puller::bind(&self.serving().await?, QUEUE, MessagePack).window(window)).await
    }

    /// Connects a pusher in a process of its own. It reaches the pullers that are bound by now.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn pusher(&self) -> Verdict<Pusher<MessagePack>> {
        in_time(Pusher::connect(&self.calling().await?, QUEUE, MessagePack)).await
    }

    /// Binds a subscriber with these filters in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn subscriber<T: DeserializeOwned + 'static>(
        &self,
        filters: impl IntoIterator<Item = &'static str>,
    ) -> Verdict<Subscriber<T>> {
        let transport = self.serving().await?;
        let subscriber = Subscriber::bind(&transport, CHANNEL, MessagePack);
        in_time(filters.into_iter().fold(subscriber, SubscriberBind::filter)).await
    }

    /// Binds a member of a group in a process of its own. It subscribes to every topic.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn member(&self, group: &str) -> Verdict<Subscriber<u32>> {
        let group = Group::new(group).or_fail("a group has a name")?;
        in_time(Subscriber::bind(&self.serving().await?, CHANNEL, MessagePack).group(group)).await
    }

    /// Connects a publisher in a process of its own. It reaches the subscribers that are bound by
    /// now.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn publisher(&self) -> Verdict<Publisher<MessagePack>> {
        in_time(Publisher::connect(&self.calling().await?, CHANNEL, MessagePack)).await
    }

    /// Continues only if the backend has the capability.
    ///
    /// # Errors
    ///
    /// [`Failure::NotRun`], naming it.
    pub async fn require(
        &self,
        name: &'static str,
        has: impl FnOnce(Capabilities) -> bool,
    ) -> Verdict {
        if has(self.calling().await?.capabilities()) {
            return Ok(());
        }
        Err(Failure::NotRun(Missing::Capability(name)))
    }

    /// Continues only if the space can be disturbed in this way.
    ///
    /// # Errors
    ///
    /// [`Failure::NotRun`], naming the hook.
    pub fn require_hook(&self, hook: Hook) -> Verdict {
        if self.space.hooks().contains(&hook) {
            return Ok(());
        }
        Err(Failure::NotRun(Missing::Hook(hook)))
    }

    /// Returns the number of requests that may wait at once; see [`Space::waiting_max`].
    #[must_use]
    pub fn waiting_max(&self) -> u32 {
        self.space.waiting_max()
    }

    /// Returns the time within which a delivery of a killed process comes back; see
    /// [`Space::redelivery_max`].
    #[must_use]
    pub fn redelivery_max(&self) -> Duration {
        self.space.redelivery_max()
    }

    /// Disturbs the space.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if the backend fails to disturb it.
    pub async fn disturb(&self, hook: Hook) -> Verdict {
        self.space.disturb(hook).await.or_fail(&format!("the disturbance {hook} works"))
    }

    /// Ends the disturbances that last.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if the backend fails to end them.
    pub async fn heal(&self) -> Verdict {
        self.space.heal().await.or_fail("the space can be healed")
    }

    /// Adds a line to the outcome of the case, for reports: figures that say how hard the case was.
    pub fn note(&self, line: impl fmt::Display) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
    }

    /// Removes and returns the lines that were added so far.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for TestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestContext").field("hooks", &self.space.hooks()).finish_non_exhaustive()
    }
}
