//! The in-memory transport: the reference for every other backend.

mod consumer;
mod dead_letters;
mod pipeline;
mod pubsub;
mod queue;
mod requester;
mod responder;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::FxHashMap;
use tokio::sync::mpsc::UnboundedSender;

use self::dead_letters::{DeadLetterSession, DeadLetterStore};
use self::pubsub::Channel;
use self::queue::{NoConsumerPolicy, Queue};
use super::{
    Capabilities, DeadLetterQueue, DeadLetterSource, Delivery, Filters, Receiver, Sender,
    Subscription, Transport, Window,
};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Limits, Message};

/// A transport within one process: for tests, for examples, and for services that share a program.
///
/// It keeps the whole contract of [`Transport`]: requests and jobs are queued, go to one of those
/// who compete for them, have to be settled, and are requeued when their taker goes. It is the
/// reference backend of the conformance suite.
///
/// [`Memory::new`] is a world of its own; [`Memory::peer`] opens a second transport in the same
/// world, as another process would, and [`Memory::named`] finds a world by name (the `mem://name`
/// URL). Clones are the same transport.
///
/// A queue of requests, of jobs, or of what a subscriber was not fast enough for holds 1,024
/// messages; then senders wait. Of dead letters the latest 1,024 of each queue are kept, and go
/// with the world.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Client, Memory, Router, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), polywire_core::CallError> {
/// let transport = Memory::new();
/// let server = Server::bind(&transport, "calculator").await?;
/// tokio::spawn(server.serve(Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })));
///
/// let client = Client::connect(&transport, "calculator", MessagePack).await?;
/// let sum: i64 = client.call("add", &(2, 3)).await?;
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Memory {
    hub: Arc<MemoryBroker>,
    ends: Arc<Ends>,
    limits: Limits,
}

impl Memory {
    /// A transport in a world of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::within(Arc::default())
    }

    /// A transport in the world of this name, which lives as long as somebody is in it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut worlds = lock(&WORLDS);
        worlds.retain(|_, hub| hub.strong_count() > 0);
        if let Some(hub) = worlds.get(name).and_then(Weak::upgrade) {
            return Self::within(hub);
        }
        let hub = Arc::<MemoryBroker>::default();
        worlds.insert(name.to_owned(), Arc::downgrade(&hub));
        Self::within(hub)
    }

    /// Another transport in the same world: closing one leaves the other open.
    #[must_use]
    pub fn peer(&self) -> Self {
        Self { limits: self.limits, ..Self::within(self.hub.clone()) }
    }

    /// Bounds what a message may hold.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn within(hub: Arc<MemoryBroker>) -> Self {
        Self { hub, ends: Arc::default(), limits: Limits::default() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            settlement: true,
            cancellation: true,
            declining: true,
            attempts: true,
            delayed_retries: true,
            dead_letters: true,
            priorities: true,
            durable: false,
            pipeline: true,
            pubsub: true,
            holding: true,
            groups: true,
            durable_groups: true,
            unroutable_at_once: true,
            security: false,
            body_max: self.limits.body_max,
        }
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.ends.check_open()?;
        let (mailbox, sender, receiver) = requester::open(self, service);
        self.ends.remember(mailbox);
        Ok((sender, receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.ends.check_open()?;
        let (ends, sender, receiver) = responder::open(self, service, window);
        ends.into_iter().for_each(|end| self.ends.remember(end));
        Ok((sender, receiver))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.ends.check_open()?;
        let (end, sender) = pipeline::push(self, queue);
        self.ends.remember(end);
        Ok(sender)
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.ends.check_open()?;
        let (end, receiver) = pipeline::pull(self, queue, window);
        self.ends.remember(end);
        Ok(receiver)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.ends.check_open()?;
        let (end, sender) = pubsub::publish(self, channel);
        self.ends.remember(end);
        Ok(sender)
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.ends.check_open()?;
        let (end, receiver, filters) = pubsub::subscribe(self, channel, subscription)?;
        self.ends.remember(end);
        Ok((receiver, filters))
    }

    async fn dead_letters(&self, origin: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.ends.check_open()?;
        Ok(Box::new(DeadLetterSession::new(self.hub.graves(origin), self.hub.origin(origin))))
    }

    async fn close(&self) -> Result<()> {
        self.ends.close();
        Ok(())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limits", &self.limits).finish_non_exhaustive()
    }
}

static WORLDS: Mutex<std::collections::BTreeMap<String, Weak<MemoryBroker>>> =
    Mutex::new(std::collections::BTreeMap::new());

/// A world: the queues of its services, where the replies of its requesters go, its jobs and its
/// channels.
#[derive(Default)]
struct MemoryBroker {
    services: Mutex<HashMap<Address, Arc<Queue>>>,
    jobs: Mutex<HashMap<Address, Arc<Queue>>>,
    channels: Mutex<HashMap<Address, Arc<Channel>>>,
    mailboxes: Mutex<FxHashMap<u64, ReplyMailbox>>,
    graves: Mutex<HashMap<DeadLetterSource, Arc<DeadLetterStore>>>,
    last_id: AtomicU64,
}

/// Unbounded, because each item answers one request of its requester, whose calls in flight core
/// bounds.
type ReplyMailbox = UnboundedSender<Result<Delivery>>;

impl MemoryBroker {
    fn queue(&self, service: &Address) -> Arc<Queue> {
        let graves = || self.graves(&DeadLetterSource::Service(service.clone()));
        let queue = || Arc::new(Queue::new(NoConsumerPolicy::Refused, graves()));
        lock(&self.services).entry(service.clone()).or_insert_with(queue).clone()
    }

    fn jobs(&self, queue: &Address) -> Arc<Queue> {
        let graves = || self.graves(&DeadLetterSource::Queue(queue.clone()));
        let held = || Arc::new(Queue::new(NoConsumerPolicy::Held, graves()));
        lock(&self.jobs).entry(queue.clone()).or_insert_with(held).clone()
    }

    fn channel(&self, channel: &Address) -> Arc<Channel> {
        lock(&self.channels).entry(channel.clone()).or_default().clone()
    }

    fn graves(&self, origin: &DeadLetterSource) -> Arc<DeadLetterStore> {
        lock(&self.graves).entry(origin.clone()).or_default().clone()
    }

    /// The queue in which something died.
    fn origin(&self, origin: &DeadLetterSource) -> Option<Arc<Queue>> {
        match origin {
            DeadLetterSource::Queue(queue) => Some(self.jobs(queue)),
            DeadLetterSource::Service(service) => Some(self.queue(service)),
            DeadLetterSource::Group { channel, group } => self.channel(channel).group(group),
        }
    }

    fn fresh_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Puts an outcome into the mailbox that `message` asked for.
    fn post(&self, reply_to: Option<u64>, outcome: Result<Message>) -> Result<()> {
        let mailboxes = lock(&self.mailboxes);
        let mailbox = reply_to.and_then(|id| mailboxes.get(&id));
        let gone = || Error::new(ErrorKind::Unroutable, "the caller is gone");
        mailbox.ok_or_else(gone)?.send(outcome.map(Delivery::settled)).map_err(|_| gone())
    }

    /// Fails the callers of requests that no server is left to take, by what the last one that
    /// declined has said, if one did.
    fn fail(&self, orphans: Vec<Message>) {
        for mut orphan in orphans {
            let Some(call) = orphan.id else { continue };
            if let Some(declined) = orphan.fault.take() {
                let reply = Message { id: Some(call), ..Message::failed(*declined) };
                // Nor does this one.
                let _ = self.post(requester::mailbox_of(&orphan), Ok(reply));
                continue;
            }
            let error =
                Error::new(ErrorKind::Unroutable, "the last server of the service went away");
            // A caller that is gone as well needs no telling.
            let _ = self.post(requester::mailbox_of(&orphan), Err(error.with_call(call)));
        }
    }
}

/// What one transport opened, to be closed with it.
#[derive(Default)]
struct Ends {
    closed: AtomicBool,
    opened: Mutex<Vec<Weak<dyn End>>>,
}

trait End: Send + Sync {
    fn close(&self);
}

impl Ends {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn remember(&self, end: Weak<dyn End>) {
        let mut opened = lock(&self.opened);
        opened.retain(|end| end.strong_count() > 0);
        opened.push(end);
        // It was closed while this end was opened.
        if self.check_open().is_err() {
            drop(opened);
            self.close();
        }
    }

    fn close(&self) {
        let opened = {
            let mut opened = lock(&self.opened);
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *opened)
        };
        for end in opened.iter().filter_map(Weak::upgrade) {
            end.close();
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}

/// A lock is poisoned only if a panic struck while it was held; no code of ours panics there, and
/// the data would be whole anyway.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
