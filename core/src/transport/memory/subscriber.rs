//! Subscriber.

use std::sync::{Arc, Weak};

use async_trait::async_trait;

use super::broker::MemoryBroker;
use super::consumer::{self, OrphanHandler};
use super::event_channel::{Channel, SubscriptionKey};
use super::open_handles::ManagedHandle;
use super::queue::{NoConsumerPolicy, Queue};
use crate::error::Result;
use crate::health::{EndpointRole, HealthReporter};
use crate::message::{Address, Filter, Message};
use crate::transport::{DeadLetterSource, FilterControl, Filters, Group, Receiver, Subscription};

/// Opens a subscriber of `channel`.
///
/// # Errors
///
/// `Config` if the group exists with another durability.
pub(super) fn open(
    broker: &MemoryBroker,
    channel: &Address,
    subscription: Subscription,
    health: &HealthReporter,
) -> Result<(Weak<dyn ManagedHandle>, Receiver, Filters)> {
    let Subscription { filters, group, window } = subscription;
    let id = broker.next_id();
    let durable = group.as_ref().is_some_and(Group::is_durable);
    let key = group.map_or(SubscriptionKey::Exclusive(id), |group| {
        SubscriptionKey::Group(group.name().clone())
    });
    let dead_letters = match &key {
        SubscriptionKey::Group(group) => broker.dead_letters(&DeadLetterSource::Group {
            channel: channel.clone(),
            group: group.clone(),
        }),
        // Core settles the events of an exclusive subscriber on arrival.
        SubscriptionKey::Exclusive(_) => Arc::default(),
    };
    let health = (health, EndpointRole::Subscriber, channel);
    let channel = broker.channel(channel);
    let policy = if durable { NoConsumerPolicy::Hold } else { NoConsumerPolicy::Drop };
    let queue = channel.join(&key, filters, (policy, dead_letters), (id, window))?;
    let membership = Arc::new(Membership { channel, key, durable });
    let (handle, receiver) = consumer::attach(queue, id, membership.clone(), health);
    Ok((handle, receiver, Filters::new(MembershipFilters(membership))))
}

/// Membership of a subscriber in the subscription of a channel.
struct Membership {
    channel: Arc<Channel>,
    key: SubscriptionKey,
    durable: bool,
}

/// Ends a subscription that is not durable with its last consumer.
impl OrphanHandler for Membership {
    fn handle(&self, queue: &Arc<Queue>, _: Vec<Message>) {
        if !self.durable {
            self.channel.remove_unused(&self.key, queue);
        }
    }
}

struct MembershipFilters(Arc<Membership>);

#[async_trait]
impl FilterControl for MembershipFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.0.channel.add_filter(&self.0.key, filter)
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.0.channel.remove_filter(&self.0.key, &filter)
    }
}
