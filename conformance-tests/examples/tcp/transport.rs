//! The transport: each endpoint handle is a link to the broker.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};

use futures_util::future::join_all;
use polywire_core::transport::kit::EnvelopeLimits;
use polywire_core::transport::{
    FilterControl, Filters, Outbound, Receiver, Sender, Sending, Subscription, async_trait,
};
use polywire_core::{Address, Capabilities, Filter, Message, Result, Transport, Window};

use super::broker::lock;
use super::link::{Link, closed};
use super::wire::{Frame, Kind, Open, Role};

/// The transport of a process.
pub(crate) struct Tcp {
    broker: SocketAddr,
    /// The links that were opened; `None` once the transport is closed.
    links: Mutex<Option<Vec<Weak<Link>>>>,
}

impl Tcp {
    /// A transport to the broker at this address.
    pub(crate) fn new(broker: SocketAddr) -> Self {
        Self { broker, links: Mutex::new(Some(Vec::new())) }
    }

    /// Opens an endpoint handle with both halves and filters. The caller drops the parts that the
    /// role does not have; dropping a receiver stops it.
    async fn open(
        &self,
        role: Role,
        name: &Address,
        subscription: Subscription,
    ) -> Result<(Sender, Receiver, Filters)> {
        if lock(&self.links).is_none() {
            return Err(closed().unsent());
        }
        let open = Open {
            role,
            name: name.to_string(),
            window: subscription.window.messages(),
            filters: subscription.filters.iter().map(Filter::to_string).collect(),
            group: subscription.group.map(|group| (group.name().to_string(), group.is_durable())),
            stopped: false,
        };
        let (link, deliveries) = Link::open(self.broker, open).await?;
        if !self.remember(&link) {
            link.close().await;
            return Err(closed().unsent());
        }
        let filters = Filters::new(LinkFilters(link.clone()));
        Ok((Sender::new(Outgoing(link)), Receiver::new(deliveries), filters))
    }

    /// Keeps a link, to close it with the transport. Returns false if the transport is closed.
    fn remember(&self, link: &Arc<Link>) -> bool {
        let mut links = lock(&self.links);
        let Some(links) = &mut *links else { return false };
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(link));
        true
    }
}

impl Transport for Tcp {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(EnvelopeLimits::default().message.body_max)
            .with_settlement(true)
            .with_attempts(true)
            .with_pipeline(true)
            .with_pubsub(true)
            .with_holding(true)
            .with_groups(true)
            .with_durable_groups(true)
            .with_unroutable_at_once(true)
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let (requests, replies, _) =
            self.open(Role::Requester, service, with_window(Window::default())).await?;
        Ok((requests, replies))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let (replies, requests, _) =
            self.open(Role::Responder, service, with_window(window)).await?;
        Ok((replies, requests))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        Ok(self.open(Role::Pusher, queue, with_window(Window::default())).await?.0)
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        Ok(self.open(Role::Puller, queue, with_window(window)).await?.1)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        Ok(self.open(Role::Publisher, channel, with_window(Window::default())).await?.0)
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        let (_, events, filters) = self.open(Role::Subscriber, channel, subscription).await?;
        Ok((events, filters))
    }

    async fn close(&self) -> Result<()> {
        let links = lock(&self.links).take().unwrap_or_default();
        join_all(
            links.iter().filter_map(Weak::upgrade).map(|link| async move { link.close().await }),
        )
        .await;
        Ok(())
    }
}

/// The subscription of a role without filters: a window only.
fn with_window(window: Window) -> Subscription {
    Subscription::new([]).window(window)
}

/// The sending half of a link.
struct Outgoing(Arc<Link>);

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        match EnvelopeLimits::default().check(&message) {
            Ok(()) => {
                let frame = Frame { kind: Kind::Send, message: Some(message) };
                Sending::later(self.0.ask(frame))
            }
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

/// The filters of a link.
struct LinkFilters(Arc<Link>);

#[async_trait]
impl FilterControl for LinkFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.0.ask(Kind::AddFilter(filter.to_string())).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.0.ask(Kind::RemoveFilter(filter.to_string())).await
    }
}
