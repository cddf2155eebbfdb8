//! What a subscription yields, after core has had its say: the filters, the policy, the count.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures_core::Stream;

use super::dropped::Dropped;
use super::overflow::{Buffered, Overflow};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Filter};
use crate::transport::Transport;
use crate::transport::{Delivery, FilterControl, Filters, Inbound, Receiver, Subscription};

/// An open subscription.
pub(super) struct EventStream {
    pub(super) receiver: Receiver,
    pub(super) filters: Filters,
    pub(super) dropped: Dropped,
}

impl EventStream {
    /// Opens a subscription, and puts between it and its reader what core adds.
    pub(super) async fn open<T: Transport>(
        transport: &T,
        channel: &Address,
        subscription: Subscription,
        policy: Overflow,
    ) -> Result<Self> {
        let can = transport.capabilities();
        let Subscription { filters, group, window } = &subscription;
        match group {
            Some(_) if !can.groups => return Err(Error::unsupported("groups")),
            Some(group) if group.is_durable() && !can.durable_groups => {
                return Err(Error::unsupported("durable_groups"));
            }
            Some(_) if policy != Overflow::Wait => {
                let error =
                    Error::new(ErrorKind::Config, "the events of a group wait for its members");
                return Err(error.with("overflow", format!("{policy:?}")).unsent());
            }
            _ => {}
        }
        let own = group.is_none().then(|| Arc::new(RwLock::new(filters.clone())));
        let room = window.messages();
        let (receiver, filters) = transport.subscriber(channel, subscription).await?;
        let dropped = Dropped::of(channel);
        let (receiver, filters) = match own {
            Some(own) => {
                let receiver = Receiver::new(ExclusiveEvents { receiver, filters: own.clone() });
                (receiver, Filters::new(MirroredFilters { backend: filters, own }))
            }
            None => (receiver, filters),
        };
        let receiver = match policy {
            Overflow::Wait => receiver,
            policy => Receiver::new(Buffered::new(
                channel.clone(),
                receiver,
                policy,
                room,
                dropped.clone(),
            )),
        };
        Ok(Self { receiver, filters, dropped })
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.count()
    }
}

/// The filters of a subscription of its own, kept here as well as at the backend.
struct MirroredFilters {
    backend: Filters,
    own: OwnFilters,
}

type OwnFilters = Arc<RwLock<Vec<Filter>>>;

impl MirroredFilters {
    /// Changes the mirror. The lock is released before any await.
    fn mirror(&self, change: impl FnOnce(&mut Vec<Filter>)) {
        change(&mut self.own.write().unwrap_or_else(PoisonError::into_inner));
    }
}

#[async_trait]
impl FilterControl for MirroredFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        // Added to the mirror first, so that core drops no event that the backend lets through.
        self.mirror(|filters| {
            if !filters.contains(&filter) {
                filters.push(filter.clone());
            }
        });
        self.backend.add(filter).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.mirror(|filters| filters.retain(|other| *other != filter));
        self.backend.remove(filter).await
    }
}

/// The events of a subscriber that shares with nobody: those that it wants, settled as they come,
/// since nobody else could be given them.
struct ExclusiveEvents {
    receiver: Receiver,
    filters: OwnFilters,
}

impl ExclusiveEvents {
    /// A backend may deliver more than was asked for.
    fn wants(&self, delivery: &Delivery) -> bool {
        let filters = self.filters.read().unwrap_or_else(PoisonError::into_inner);
        // One without a topic cannot be read, or is a fault of the backend: its reader is to know.
        delivery
            .message
            .topic
            .as_ref()
            .is_none_or(|topic| filters.iter().any(|filter| filter.matches(topic)))
    }
}

impl Stream for ExclusiveEvents {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.receiver).poll_next(cx)) {
                Some(Ok(delivery)) if !self.wants(&delivery) => delivery.receipt.ack(),
                Some(Ok(delivery)) => {
                    delivery.receipt.ack();
                    return Poll::Ready(Some(Ok(
                        Delivery::settled(delivery.message).attempt(delivery.attempt)
                    )));
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
}
