//! Channels: the subscriptions that published messages go to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::dead_letter_store::DeadLetterStore;
use super::lock::lock;
use super::open_handles::closed;
use super::queue::{NoConsumerPolicy, Queue};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Filter};
use crate::transport::Window;

/// Subscriptions of one channel.
#[derive(Default)]
pub(super) struct Channel(Mutex<HashMap<SubscriptionKey, ChannelSubscription>>);

/// Key of a subscription: a subscriber without a group, or a group.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum SubscriptionKey {
    /// Subscriber with this id.
    Exclusive(u64),
    /// Group with this name.
    Group(Address),
}

/// Subscription: a queue, and the filters of the messages that go into it.
struct ChannelSubscription {
    filters: Vec<Filter>,
    queue: Arc<Queue>,
}

impl Channel {
    /// Adds the consumer `id` to the subscription `key`, creates the subscription if necessary, and
    /// adds these filters to it.
    ///
    /// # Errors
    ///
    /// `Config` if the group exists with another durability.
    pub(super) fn join(
        &self,
        key: &SubscriptionKey,
        filters: Vec<Filter>,
        (policy, dead_letters): (NoConsumerPolicy, Arc<DeadLetterStore>),
        (id, window): (u64, Window),
    ) -> Result<Arc<Queue>> {
        let mut subscriptions = lock(&self.0);
        let new = || ChannelSubscription {
            filters: Vec::new(),
            queue: Arc::new(Queue::new(policy, dead_letters)),
        };
        let subscription = subscriptions.entry(key.clone()).or_insert_with(new);
        if subscription.queue.policy() != policy {
            let is = if policy == NoConsumerPolicy::Hold { "not durable" } else { "durable" };
            let text = "cannot join the group: it exists with another durability";
            return Err(Error::new(ErrorKind::Config, text).with("is", is));
        }
        for filter in filters {
            subscription.add(filter);
        }
        // Under the lock, so that `remove_unused` does not remove the subscription in between.
        subscription.queue.add_consumer(id, window.messages());
        Ok(subscription.queue.clone())
    }

    /// Returns the queue of a group, if the group exists.
    pub(super) fn group(&self, group: &Address) -> Option<Arc<Queue>> {
        let key = SubscriptionKey::Group(group.clone());
        lock(&self.0).get(&key).map(|subscription| subscription.queue.clone())
    }

    /// Adds a filter to the subscription `key`.
    pub(super) fn add_filter(&self, key: &SubscriptionKey, filter: Filter) -> Result<()> {
        self.change(key, |subscription| subscription.add(filter))
    }

    /// Removes a filter of the subscription `key`.
    pub(super) fn remove_filter(&self, key: &SubscriptionKey, filter: &Filter) -> Result<()> {
        self.change(key, |subscription| subscription.filters.retain(|other| other != filter))
    }

    /// Returns the queues of the subscriptions with a filter that matches `topic`.
    pub(super) fn matching(&self, topic: &Address) -> Vec<Arc<Queue>> {
        let subscriptions = lock(&self.0);
        let matching = subscriptions.values().filter(|subscription| subscription.matches(topic));
        matching.map(|subscription| subscription.queue.clone()).collect()
    }

    /// Removes the subscription `key` if `queue` is its queue and has no consumer.
    pub(super) fn remove_unused(&self, key: &SubscriptionKey, queue: &Arc<Queue>) {
        let mut subscriptions = lock(&self.0);
        let is_same = subscriptions
            .get(key)
            .is_some_and(|subscription| Arc::ptr_eq(&subscription.queue, queue));
        if is_same && !queue.has_consumers() {
            subscriptions.remove(key);
        }
    }

    fn change(
        &self,
        key: &SubscriptionKey,
        change: impl FnOnce(&mut ChannelSubscription),
    ) -> Result<()> {
        lock(&self.0).get_mut(key).map(change).ok_or_else(closed)
    }
}

impl ChannelSubscription {
    fn matches(&self, topic: &Address) -> bool {
        self.filters.iter().any(|filter| filter.matches(topic))
    }

    fn add(&mut self, filter: Filter) {
        if !self.filters.contains(&filter) {
            self.filters.push(filter);
        }
    }
}
