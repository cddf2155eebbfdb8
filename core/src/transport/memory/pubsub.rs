//! The ends of a channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;

use super::consumer::{self, OrphanHandler};
use super::dead_letters::DeadLetterStore;
use super::pipeline::Open;
use super::queue::{NoConsumerPolicy, Queue};
use super::{End, Memory, closed, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Filter, Limits, Message};
use crate::transport::{
    DeadLetterSource, FilterControl, Filters, Outbound, Receiver, Sender, Sending, Subscription,
    Window,
};

/// Who subscribes to a channel.
#[derive(Default)]
pub(super) struct Channel(Mutex<HashMap<Key, Subscribed>>);

/// One subscriber, or one group of them.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    ExclusiveEvents(u64),
    Group(Address),
}

/// A queue, and what goes into it.
struct Subscribed {
    filters: Vec<Filter>,
    queue: Arc<Queue>,
}

impl Channel {
    /// Takes a seat at the queue of a subscription, which has these filters from now on.
    fn join(
        &self,
        key: &Key,
        filters: Vec<Filter>,
        (unserved, graves): (NoConsumerPolicy, Arc<DeadLetterStore>),
        seat: (u64, Window),
    ) -> Result<Arc<Queue>> {
        let mut subscribed = lock(&self.0);
        let fresh =
            || Subscribed { filters: Vec::new(), queue: Arc::new(Queue::new(unserved, graves)) };
        let one = subscribed.entry(key.clone()).or_insert_with(fresh);
        if one.queue.unserved() != unserved {
            let is = if unserved == NoConsumerPolicy::Held { "not durable" } else { "durable" };
            return Err(Error::new(ErrorKind::Config, "the group is there, and of the other kind")
                .with("is", is));
        }
        for filter in filters {
            one.add(filter);
        }
        // Under the lock, so that the subscription is not taken away for want of seats in between.
        one.queue.join(seat.0, seat.1.messages());
        Ok(one.queue.clone())
    }

    /// The queue of a group, if it is there.
    pub(super) fn group(&self, group: &Address) -> Option<Arc<Queue>> {
        lock(&self.0).get(&Key::Group(group.clone())).map(|one| one.queue.clone())
    }

    fn change(&self, key: &Key, change: impl FnOnce(&mut Subscribed)) -> Result<()> {
        lock(&self.0).get_mut(key).map(change).ok_or_else(closed)
    }

    /// The queues of all who want this topic.
    fn takers(&self, topic: &Address) -> Vec<Arc<Queue>> {
        let subscribed = lock(&self.0);
        subscribed.values().filter(|one| one.wants(topic)).map(|one| one.queue.clone()).collect()
    }
}

impl Subscribed {
    fn wants(&self, topic: &Address) -> bool {
        self.filters.iter().any(|filter| filter.matches(topic))
    }

    fn add(&mut self, filter: Filter) {
        if !self.filters.contains(&filter) {
            self.filters.push(filter);
        }
    }
}

pub(super) fn publish(memory: &Memory, channel: &Address) -> (Weak<dyn End>, Sender) {
    let open = Arc::new(Open::default());
    let end: Arc<dyn End> = open.clone();
    let events = Events { channel: memory.hub.channel(channel), limits: memory.limits, open };
    (Arc::downgrade(&end), Sender::new(events))
}

struct Events {
    channel: Arc<Channel>,
    limits: Limits,
    open: Arc<Open>,
}

impl Outbound for Events {
    fn send(&self, message: Message) -> Sending<'_> {
        if let Err(error) = self.open.check(&message, &self.limits) {
            return Sending::ready(Err(error));
        }
        let mut takers =
            message.topic.as_ref().map(|topic| self.channel.takers(topic)).unwrap_or_default();
        // A subscription that has ended takes everything and does nothing with it.
        takers.retain(|queue| queue.try_push(message.clone()).is_err());
        if takers.is_empty() {
            return Sending::ready(Ok(()));
        }
        Sending::later(self.open.unless_closed(async move {
            for queue in takers {
                queue.push(message.clone()).await?;
            }
            Ok(())
        }))
    }
}

pub(super) fn subscribe(
    memory: &Memory,
    channel: &Address,
    subscription: Subscription,
) -> Result<(Weak<dyn End>, Receiver, Filters)> {
    let Subscription { filters, group, window } = subscription;
    let id = memory.hub.fresh_id();
    let durable = group.as_ref().is_some_and(crate::transport::Group::is_durable);
    let key = group.map_or(Key::ExclusiveEvents(id), |group| Key::Group(group.name().clone()));
    let graves = match &key {
        Key::Group(group) => memory
            .hub
            .graves(&DeadLetterSource::Group { channel: channel.clone(), group: group.clone() }),
        // What is settled as it comes never dies.
        Key::ExclusiveEvents(_) => Arc::default(),
    };
    let channel = memory.hub.channel(channel);
    let unserved = if durable { NoConsumerPolicy::Held } else { NoConsumerPolicy::Gone };
    let queue = channel.join(&key, filters, (unserved, graves), (id, window))?;
    let wanted = Arc::new(Wanted { channel, key, durable });
    let (end, receiver) = consumer::taken(queue, id, wanted.clone());
    Ok((end, receiver, Filters::new(Of(wanted))))
}

/// A subscription at its channel, which it leaves when nobody is at its queue any more.
struct Wanted {
    channel: Arc<Channel>,
    key: Key,
    durable: bool,
}

impl OrphanHandler for Wanted {
    fn left(&self, queue: &Arc<Queue>, _: Vec<Message>) {
        if self.durable {
            return;
        }
        let mut subscribed = lock(&self.channel.0);
        let is_ours = subscribed.get(&self.key).is_some_and(|one| Arc::ptr_eq(&one.queue, queue));
        if is_ours && !queue.is_served() {
            subscribed.remove(&self.key);
        }
    }
}

struct Of(Arc<Wanted>);

#[async_trait]
impl FilterControl for Of {
    async fn add(&self, filter: Filter) -> Result<()> {
        let Wanted { channel, key, .. } = &*self.0;
        channel.change(key, |subscribed| subscribed.add(filter))
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        let Wanted { channel, key, .. } = &*self.0;
        channel.change(key, |subscribed| subscribed.filters.retain(|other| *other != filter))
    }
}
