//! The backend: each end is a link to the hub.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::join_all;
use polywire_core::transport::{
    Delivery, FilterControl, Filters, Inbound, Outbound, Receiver, Sender, Sending, Subscription,
    async_trait,
};
use polywire_core::{Address, Capabilities, Filter, Message, Result, Transport, Window};

use super::hub::lock;
use super::link::{Items, Link, closed};
use super::wire::{self, Frame, Open, Packet, Role};

/// Messages by way of a hub.
pub(crate) struct Tcp {
    hub: SocketAddr,
    /// What was opened; nothing any more, once it is closed.
    links: Mutex<Option<Vec<Weak<Link>>>>,
}

impl Tcp {
    pub(crate) fn new(hub: SocketAddr) -> Self {
        Self { hub, links: Mutex::new(Some(Vec::new())) }
    }

    /// Opens an end with all that one can have. Dropping the half that stops taking in is how an
    /// end has none.
    async fn open(
        &self,
        role: Role,
        name: &Address,
        wish: Subscription,
    ) -> Result<(Sender, Receiver, Filters)> {
        if lock(&self.links).is_none() {
            return Err(closed().unsent());
        }
        let open = Open {
            role,
            name: name.to_string(),
            window: wish.window.messages(),
            filters: wish.filters.iter().map(Filter::to_string).collect(),
            group: wish.group.map(|group| (group.name().to_string(), group.is_durable())),
            stopped: false,
        };
        let (link, items) = Link::open(self.hub, open).await?;
        if !self.remember(&link) {
            link.close().await;
            return Err(closed().unsent());
        }
        let receiver = Receiver::new(Incoming { link: link.clone(), items });
        Ok((Sender::new(Outgoing(link.clone())), receiver, Filters::new(Wanted(link))))
    }

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
        let mut capabilities = Capabilities::least(wire::LIMITS.body_max);
        capabilities.settlement = true;
        capabilities.attempts = true;
        (capabilities.pipeline, capabilities.pubsub) = (true, true);
        capabilities.holding = true;
        capabilities.groups = true;
        capabilities.durable_groups = true;
        capabilities.unroutable_at_once = true;
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let (requests, replies, _) =
            self.open(Role::Requester, service, one(Window::default())).await?;
        Ok((requests, replies))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let (replies, requests, _) = self.open(Role::Responder, service, one(window)).await?;
        Ok((replies, requests))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        Ok(self.open(Role::Pusher, queue, one(Window::default())).await?.0)
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        Ok(self.open(Role::Puller, queue, one(window)).await?.1)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        Ok(self.open(Role::Publisher, channel, one(Window::default())).await?.0)
    }

    async fn subscriber(
        &self,
        channel: &Address,
        wish: Subscription,
    ) -> Result<(Receiver, Filters)> {
        let (_, events, filters) = self.open(Role::Subscriber, channel, wish).await?;
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

/// What an end without filters asks for: this window.
fn one(window: Window) -> Subscription {
    Subscription::new([]).window(window)
}

struct Outgoing(Arc<Link>);

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        match wire::check(&message) {
            Ok(()) => Sending::later(self.0.ask(Frame::Send(Packet(message)))),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

struct Incoming {
    link: Arc<Link>,
    items: Items,
}

impl Stream for Incoming {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.link.is_closed() { Poll::Ready(None) } else { self.items.poll_recv(cx) }
    }
}

impl Inbound for Incoming {
    fn stop(mut self: Pin<&mut Self>) {
        // Said first, so that what is handed back does not come again.
        self.link.stop();
        self.items.close();
        while self.items.try_recv().is_ok() {}
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

struct Wanted(Arc<Link>);

#[async_trait]
impl FilterControl for Wanted {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.0.ask(Frame::AddFilter(filter.to_string())).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.0.ask(Frame::RemoveFilter(filter.to_string())).await
    }
}
