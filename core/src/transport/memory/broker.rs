//! Broker of a namespace: its queues, channels, reply queues and dead letters.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rustc_hash::FxHashMap;

use super::dead_letter_store::DeadLetterStore;
use super::event_channel::Channel;
use super::lock::lock;
use super::queue::{NoConsumerPolicy, Queue};
use super::reply_address;
use super::reply_queue::ReplyQueue;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Message};
use crate::transport::{DeadLetterSource, Delivery, ServerNotice};

/// Broker of one namespace.
#[derive(Default)]
pub(super) struct MemoryBroker {
    services: Mutex<HashMap<Address, Arc<Queue>>>,
    jobs: Mutex<HashMap<Address, Arc<Queue>>>,
    channels: Mutex<HashMap<Address, Arc<Channel>>>,
    replies: Mutex<FxHashMap<u64, Arc<ReplyQueue>>>,
    dead_letters: Mutex<HashMap<DeadLetterSource, Arc<DeadLetterStore>>>,
    last_id: AtomicU64,
}

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
        let new = || Arc::new(DeadLetterStore::new(source.clone()));
        lock(&self.dead_letters).entry(source.clone()).or_insert_with(new).clone()
    }

    /// Returns the queue that `source` names; `None` for a group that does not exist.
    pub(super) fn source_queue(&self, source: &DeadLetterSource) -> Option<Arc<Queue>> {
        match source {
            DeadLetterSource::Queue(queue) => Some(self.job_queue(queue)),
            DeadLetterSource::Service(service) => Some(self.service_queue(service)),
            DeadLetterSource::Group { channel, group } => self.channel(channel).group(group),
        }
    }

    /// Returns the queue that `source` names; `None` if it was never used.
    pub(super) fn known_queue(&self, source: &DeadLetterSource) -> Option<Arc<Queue>> {
        match source {
            DeadLetterSource::Queue(queue) => lock(&self.jobs).get(queue).cloned(),
            DeadLetterSource::Service(service) => lock(&self.services).get(service).cloned(),
            DeadLetterSource::Group { channel, group } => {
                let channel = lock(&self.channels).get(channel).cloned();
                channel.and_then(|channel| channel.group(group))
            }
        }
    }

    /// Returns an id that is unique within the namespace.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Creates the reply queue `id`.
    pub(super) fn add_reply_queue(&self, id: u64) -> Arc<ReplyQueue> {
        lock(&self.replies).entry(id).or_default().clone()
    }

    /// Puts a notice into the reply queue `id`. Returns whether the requester is open; otherwise
    /// the notice has no effect.
    pub(super) fn notify(&self, id: Option<u64>, notice: ServerNotice) -> bool {
        let replies = lock(&self.replies);
        let queue = id.and_then(|id| replies.get(&id));
        queue.is_some_and(|queue| queue.push_notice(notice))
    }

    /// Removes the reply queue `id`. Its receiver ends after the queued replies.
    pub(super) fn remove_reply_queue(&self, id: u64) {
        let removed = lock(&self.replies).remove(&id);
        removed.into_iter().for_each(|queue| queue.close());
    }

    /// Puts the outcome of a call into the reply queue `id`.
    pub(super) fn reply(&self, id: Option<u64>, outcome: Result<Box<Message>>) -> Result<()> {
        let closed =
            || Error::new(ErrorKind::Unroutable, "cannot send the reply: the requester is closed");
        let queue = id.and_then(|id| lock(&self.replies).get(&id).cloned());
        // Not under the lock: a reply may wake its caller.
        let is_taken = queue.is_some_and(|queue| queue.push(outcome.map(Delivery::settled)));
        is_taken.then_some(()).ok_or_else(closed)
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
