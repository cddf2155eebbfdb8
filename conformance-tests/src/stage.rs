//! What a case works with: a space, and short ways to fill it.

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use polywire_codec::MessagePack;
use polywire_core::pubsub::SubscriberBind;
use polywire_core::rpc::{Requester, ServerBind, ServerHandle};
use polywire_core::{
    AnyTransport, Capabilities, Client, Group, Publisher, Puller, Pusher, Result, Server, Service,
    Subscriber, Transport, Window,
};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::{Failure, Hook, Missing, OrFail, Space, Verdict};

/// A fresh space of a backend, and short ways to put servers and clients into it, and to disturb
/// it.
///
/// Clones are the same stage.
#[derive(Clone)]
pub struct Stage {
    space: Arc<dyn AnySpace>,
    notes: Arc<Mutex<Vec<String>>>,
}

/// The name of the service, where a case needs just one.
pub(crate) const SERVICE: &str = "calculator";

/// The name of the queue of jobs, and of the channel of events, where a case needs just one.
pub(crate) const QUEUE: &str = "thumbnails";
pub(crate) const CHANNEL: &str = "weather";

/// The name of the queue of jobs whose cases are about priorities: a backend whose queues know
/// priorities only if they are set up for them sets up this one, for priorities up to 3.
pub const URGENT: &str = "urgent";

/// Longer than anything takes that does not hang, and shorter than a case.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

impl Stage {
    /// A stage in this space, to run one case alone:
    ///
    /// ```
    /// use polywire_conformance::{Backend, MemoryBackend, Stage, cases};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let stage = Stage::new(MemoryBackend.space().await?);
    /// cases::calls::nested_methods_are_found(&stage).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(space: impl Space) -> Self {
        Self::within(Arc::new(space))
    }

    pub(crate) fn within(space: Arc<dyn AnySpace>) -> Self {
        Self { space, notes: Arc::default() }
    }

    /// A transport for a serving process.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be made.
    pub async fn serving(&self) -> Verdict<AnyTransport> {
        self.space.serving().await.or_fail("a serving transport opens")
    }

    /// A transport for a calling process.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be made.
    pub async fn calling(&self) -> Verdict<AnyTransport> {
        self.space.calling().await.or_fail("a calling transport opens")
    }

    /// Serves `service` in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn serve(&self, service: impl Service) -> Verdict<Serving> {
        self.serve_within(Window::default(), service).await
    }

    /// Serves `service` in a process of its own, with a window.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn serve_within(&self, window: Window, service: impl Service) -> Verdict<Serving> {
        self.serve_as(service, |server| server.window(window)).await
    }

    /// Serves `service` in a process of its own, with these options.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn serve_as<F>(&self, service: impl Service, options: F) -> Verdict<Serving>
    where
        F: for<'t> FnOnce(ServerBind<'t, AnyTransport>) -> ServerBind<'t, AnyTransport>,
    {
        let transport = self.serving().await?;
        let server = bound(options(Server::bind(&transport, SERVICE))).await?;
        Ok(Serving::start(transport, server, service))
    }

    /// A client in a process of its own, speaking MessagePack.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn client(&self) -> Verdict<Client<MessagePack>> {
        self.client_on(&self.calling().await?).await
    }

    /// A client on this transport, speaking MessagePack.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn client_on(&self, transport: &AnyTransport) -> Verdict<Client<MessagePack>> {
        bound(Client::connect(transport, SERVICE, MessagePack).timeout(PATIENCE)).await
    }

    /// The raw calling end in a process of its own.
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

    /// A puller of numbers in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn puller(&self, window: Window) -> Verdict<Puller<u32>> {
        bound(Puller::bind(&self.serving().await?, QUEUE, MessagePack).window(window)).await
    }

    /// A pusher in a process of its own. It reaches the pullers that are there by now.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn pusher(&self) -> Verdict<Pusher<MessagePack>> {
        bound(Pusher::connect(&self.calling().await?, QUEUE, MessagePack)).await
    }

    /// A subscriber in a process of its own.
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
        bound(filters.into_iter().fold(subscriber, SubscriberBind::filter)).await
    }

    /// A member of a group, in a process of its own, that wants everything.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot be bound.
    pub async fn member(&self, group: &str) -> Verdict<Subscriber<u32>> {
        let group = Group::new(group).or_fail("a group has a name")?;
        bound(Subscriber::bind(&self.serving().await?, CHANNEL, MessagePack).group(group)).await
    }

    /// A publisher in a process of its own. It reaches the subscribers that are there by now.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if it cannot connect.
    pub async fn publisher(&self) -> Verdict<Publisher<MessagePack>> {
        bound(Publisher::connect(&self.calling().await?, CHANNEL, MessagePack)).await
    }

    /// Goes on only if the backend has the capability.
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

    /// Goes on only if the space can be disturbed in this way.
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

    /// Disturbs the space.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if the backend does not do what it offered.
    pub async fn disturb(&self, hook: Hook) -> Verdict {
        self.space.disturb(hook).await.or_fail(&format!("the disturbance {hook} works"))
    }

    /// Ends the disturbances that last.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`], if the backend cannot.
    pub async fn heal(&self) -> Verdict {
        self.space.heal().await.or_fail("the space can be healed")
    }

    /// Adds a line to the outcome of the case, for reports: figures that say how hard the case was.
    pub fn note(&self, line: impl fmt::Display) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
    }

    pub(crate) fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Awaits something that opens an end.
pub(crate) async fn bound<T, F: IntoFuture<Output = Result<T>>>(opening: F) -> Verdict<T> {
    let opened = tokio::time::timeout(PATIENCE, opening.into_future()).await;
    opened.or_fail("an end opens in time")?.or_fail("an end opens")
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}

/// A server at work in a process of its own. Dropping it is that process' death.
#[derive(Debug)]
pub struct Serving {
    /// The transport it serves on.
    pub transport: AnyTransport,
    /// Its handle.
    pub handle: ServerHandle,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) fn start(transport: AnyTransport, server: Server, service: impl Service) -> Self {
        let handle = server.handle();
        Self { transport, handle, task: tokio::spawn(server.serve(service)) }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The object-safe twin of [`Space`].
pub(crate) trait AnySpace: Send + Sync {
    fn serving(&self) -> BoxFuture<'_, Result<AnyTransport>>;
    fn calling(&self) -> BoxFuture<'_, Result<AnyTransport>>;
    fn hooks(&self) -> Vec<Hook>;
    fn disturb(&self, hook: Hook) -> BoxFuture<'_, Result<()>>;
    fn heal(&self) -> BoxFuture<'_, Result<()>>;
}

impl<S: Space> AnySpace for S {
    fn serving(&self) -> BoxFuture<'_, Result<AnyTransport>> {
        Box::pin(Space::serving(self))
    }

    fn calling(&self) -> BoxFuture<'_, Result<AnyTransport>> {
        Box::pin(Space::calling(self))
    }

    fn hooks(&self) -> Vec<Hook> {
        Space::hooks(self)
    }

    fn disturb(&self, hook: Hook) -> BoxFuture<'_, Result<()>> {
        Box::pin(Space::disturb(self, hook))
    }

    fn heal(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(Space::heal(self))
    }
}
