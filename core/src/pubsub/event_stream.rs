//! Stream of the events of a subscription, filtered by core.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures_core::Stream;

use tokio::task::coop::consume_budget;

use super::dropped_events::DroppedEvents;
use super::overflow::Overflow;
use super::overflow_buffer::OverflowBuffer;
use crate::error::{Error, ErrorKind, Result};
use crate::health::EndpointReporter;
use crate::message::{Address, Filter};
use crate::transport::{
    Capabilities, Delivery, FilterControl, Filters, Inbound, Receiver, Subscription, Transport,
    WireKind, log_received,
};

/// Open subscription: its events, filters and counter of dropped events.
pub(crate) struct EventStream {
    pub(crate) receiver: Receiver,
    pub(super) filters: Filters,
    pub(super) dropped: DroppedEvents,
}

impl EventStream {
    /// Opens a subscription, and adds core's filtering and overflow policy to the backend's stream.
    /// `group_option` names the option that sets a group, for an error.
    ///
    /// # Errors
    ///
    /// `Unsupported` or `Config` if the transport or the policy does not fit the subscription, or
    /// any error of the transport.
    pub(crate) async fn open<T: Transport>(
        transport: &T,
        channel: &Address,
        subscription: Subscription,
        policy: Overflow,
        group_option: &'static str,
    ) -> Result<Self> {
        // A loop over openings that fail at once leaves other tasks their turns.
        consume_budget().await;
        check(&transport.capabilities(), &subscription, policy, group_option)?;
        let Subscription { filters, group, window } = &subscription;
        let mirror = group.is_none().then(|| Arc::new(RwLock::new(filters.clone())));
        let capacity = window.messages();
        let (receiver, filters) = transport.subscriber(channel, subscription).await?;
        let receiver = log_received(receiver, WireKind::Event, channel);
        let dropped = DroppedEvents::new(channel);
        let (receiver, filters) = match mirror {
            Some(mirror) => {
                let events = ExclusiveEvents::new(receiver, mirror.clone());
                let filters = MirroredFilters { backend: filters, mirror };
                (Receiver::new(events), Filters::new(filters))
            }
            None => (receiver, filters),
        };
        let receiver = match policy {
            Overflow::Wait => receiver,
            policy => {
                let (channel, dropped) = (channel.clone(), dropped.clone());
                Receiver::new(OverflowBuffer::new(channel, receiver, policy, capacity, dropped))
            }
        };
        Ok(Self { receiver, filters, dropped })
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.count()
    }
}

fn check(
    capabilities: &Capabilities,
    subscription: &Subscription,
    policy: Overflow,
    group_option: &'static str,
) -> Result<()> {
    match &subscription.group {
        Some(_) if !capabilities.groups => Err(Error::lacking(group_option, "groups")),
        Some(group) if group.is_durable() && !capabilities.durable_groups => {
            Err(Error::lacking("Group::durable", "durable_groups"))
        }
        Some(_) if policy != Overflow::Wait => {
            let text = "cannot join the group: its only overflow policy is to wait";
            let error = Error::new(ErrorKind::Config, text);
            Err(error.with("overflow", format!("{policy:?}")).unsent())
        }
        _ => Ok(()),
    }
}

/// Filters of a subscription without a group, at the backend and mirrored in core.
struct MirroredFilters {
    backend: Filters,
    mirror: FilterMirror,
}

type FilterMirror = Arc<RwLock<Vec<Filter>>>;

impl MirroredFilters {
    /// Changes the mirror. The lock is released before any await.
    fn change_mirror(&self, change: impl FnOnce(&mut Vec<Filter>)) {
        change(&mut self.mirror.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[async_trait]
impl FilterControl for MirroredFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        // The mirror first, so that core drops no event that the backend already lets through.
        self.change_mirror(|filters| {
            if !filters.contains(&filter) {
                filters.push(filter.clone());
            }
        });
        self.backend.add(filter).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.change_mirror(|filters| filters.retain(|other| *other != filter));
        self.backend.remove(filter).await
    }
}

/// Events of a subscriber without a group: only the matching ones, acknowledged on arrival, because
/// no other subscriber could receive them.
struct ExclusiveEvents {
    receiver: Receiver,
    filters: FilterMirror,
    health: Option<EndpointReporter>,
}

impl ExclusiveEvents {
    fn new(mut receiver: Receiver, filters: FilterMirror) -> Self {
        let health = receiver.health();
        Self { receiver, filters, health }
    }

    /// Returns whether a filter matches the event; a backend may deliver more.
    fn matches(&self, delivery: &Delivery) -> bool {
        let filters = self.filters.read().unwrap_or_else(PoisonError::into_inner);
        let topic = delivery.message.topic.as_ref();
        // An event without a topic is malformed, and becomes an error of the subscriber.
        topic.is_none_or(|topic| filters.iter().any(|filter| filter.matches(topic)))
    }
}

impl Stream for ExclusiveEvents {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.receiver).poll_next(cx)) {
                Some(Ok(delivery)) if !self.matches(&delivery) => delivery.receipt.ack(),
                Some(Ok(delivery)) => {
                    delivery.receipt.ack();
                    let settled = Delivery::settled(delivery.message).attempt(delivery.attempt);
                    return Poll::Ready(Some(Ok(settled)));
                }
                other => return Poll::Ready(other),
            }
        }
    }
}

impl Inbound for ExclusiveEvents {
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.health.clone()
    }
}
