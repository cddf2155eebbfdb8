//! Broker of a namespace: its queues, channels, reply queues and dead letters.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rustc_hash::FxHashMap;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::dead_letter_store::DeadLetterStore;
use super::event_channel::Channel;
use super::lock::lock;
use super::queue::{NoConsumerPolicy, Queue};
use super::reply_address;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Message};
use crate::transport::{DeadLetterSource, Delivery, ServerNotice};

/// Broker of one namespace.
#[derive(Default)]
pub(super) struct MemoryBroker {
    services: Mutex<HashMap<Address, Arc<Queue>>>,
    jobs: Mutex<HashMap<Address, Arc<Queue>>>,
    channels: Mutex<HashMap<Address, Arc<Channel>>>,
    replies: Mutex<FxHashMap<u64, ReplyQueue>>,
    dead_letters: Mutex<HashMap<DeadLetterSource, Arc<DeadLetterStore>>>,
    last_id: AtomicU64,
}

/// Reply queue of a requester. It is unbounded: each item answers one request, and core bounds the
/// in-flight calls of a requester. A server asks at most once a second for each request that it
/// holds, and windows bound these.
struct ReplyQueue {
    replies: UnboundedSender<Result<Delivery>>,
    notices: UnboundedSender<ServerNotice>,
}

/// Receiving ends of a reply queue.
pub(super) type ReplyQueueEnds =
    (UnboundedReceiver<Result<Delivery>>, UnboundedReceiver<ServerNotice>);

/// Brokers of the named namespaces that are in use.
static NAMED: Mutex<BTreeMap<String, Weak<MemoryBroker>>> = Mutex::new(BTreeMap::new());

impl MemoryBroker {
    /// Returns the broker of the namespace `name`, which lives as long as a transport uses it.
    pub(super) fn named(name: &str) -> Arc<Self> {
        let mut named = lock(&NAMED);
        named.retain(|_, broker| broker.strong_count() > 0);
        if let Some(broker) = named.get(name).and_then(Weak::upgrade) {
            return broker;
        }
        let broker = Arc::<Self>::default();
        named.insert(name.to_owned(), Arc::downgrade(&broker));
        broker
    }

    /// Returns the request queue of `service`.
    pub(super) fn service_queue(&self, service: &Address) -> Arc<Queue> {
        let dead_letters = || self.dead_letters(&DeadLetterSource::Service(service.clone()));
        let queue = || Arc::new(Queue::new(NoConsumerPolicy::Reject, dead_letters()));
        lock(&self.services).entry(service.clone()).or_insert_with(queue).clone()
    }

    /// Returns the job queue `queue`.
    pub(super) fn job_queue(&self, queue: &Address) -> Arc<Queue> {
        let dead_letters = || self.dead_letters(&DeadLetterSource::Queue(queue.clone()));
        let new = || Arc::new(Queue::new(NoConsumerPolicy::Hold, dead_letters()));
        lock(&self.jobs).entry(queue.clone()).or_insert_with(new).clone()
    }

    /// Returns the channel `channel`.
    pub(super) fn channel(&self, channel: &Address) -> Arc<Channel> {
        lock(&self.channels).entry(channel.clone()).or_default().clone()
    }

    /// Returns the dead letters of `source`; `None` for a source that was never opened.
    pub(super) fn known_dead_letters(
        &self,
        source: &DeadLetterSource,
    ) -> Option<Arc<DeadLetterStore>> {
        lock(&self.dead_letters).get(source).cloned()
    }

    /// Returns the dead letters of `source`, which is being opened.
    pub(super) fn dead_letters(&self, source: &DeadLetterSource) -> Arc<DeadLetterStore> {
        lock(&self.dead_letters).entry(source.clone()).or_default().clone()
    }

    /// Returns the queue that `source` names; `None` for a group that does not exist.
    pub(super) fn source_queue(&self, source: &DeadLetterSource) -> Option<Arc<Queue>> {
        match source {
            DeadLetterSource::Queue(queue) => Some(self.job_queue(queue)),
            DeadLetterSource::Service(service) => Some(self.service_queue(service)),
            DeadLetterSource::Group { channel, group } => self.channel(channel).group(group),
        }
    }

    /// Returns an id that is unique within the namespace.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Creates the reply queue `id`.
    pub(super) fn add_reply_queue(&self, id: u64) -> ReplyQueueEnds {
        let ((replies, replies_end), (notices, notices_end)) =
            (unbounded_channel(), unbounded_channel());
        lock(&self.replies).insert(id, ReplyQueue { replies, notices });
        (replies_end, notices_end)
    }

    /// Puts a notice into the reply queue `id`. Has no effect if the requester is closed.
    pub(super) fn notify(&self, id: Option<u64>, notice: ServerNotice) {
        let replies = lock(&self.replies);
        if let Some(queue) = id.and_then(|id| replies.get(&id)) {
            // The requester may be closing.
            let _ = queue.notices.send(notice);
        }
    }

    /// Removes the reply queue `id`. Its receiver ends after the queued replies.
    pub(super) fn remove_reply_queue(&self, id: u64) {
        lock(&self.replies).remove(&id);
    }

    /// Puts the outcome of a call into the reply queue `id`.
    pub(super) fn reply(&self, id: Option<u64>, outcome: Result<Box<Message>>) -> Result<()> {
        let replies = lock(&self.replies);
        let queue = id.and_then(|id| replies.get(&id));
        let closed =
            || Error::new(ErrorKind::Unroutable, "cannot send the reply: the requester is closed");
        queue.ok_or_else(closed)?.replies.send(outcome.map(Delivery::settled)).map_err(|_| closed())
    }

    /// Fails the clients of requests that have no server left: with the fault of the last server
    /// that declined the request, or with an error.
    pub(super) fn fail(&self, orphans: Vec<Message>) {
        for mut orphan in orphans {
            let Some(call) = orphan.id else { continue };
            let outcome = match orphan.fault.take() {
                Some(fault) => Ok(Box::new(Message::failed(*fault).with_id(call))),
                None => {
                    let text = "the call failed: the last server of the service has stopped";
                    Err(Error::new(ErrorKind::Unroutable, text).with_call(call))
                }
            };
            // A requester that is closed needs no outcome.
            let _ = self.reply(reply_address::decode(&orphan), outcome);
        }
    }
}
