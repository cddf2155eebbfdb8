//! The serving end: one socket for all services of a transport, and the task that deals out what it
//! receives.

mod declinable;
mod desk;
mod queue;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use polywire_core::transport::{Abandoned, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Message, Result, Window};
use tokio::task::AbortHandle;

use self::declinable::Declinable;
use self::desk::Desk;
use self::queue::{Item, Queue, Taken};
use crate::config::Settings;
use crate::endpoint::{BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedEndpoint};
use crate::engine;
use crate::error::{closed, config};

/// Opens a serving end of `service`.
pub(crate) fn open(hub: &Arc<Hub>, service: &Address, window: Window) -> (Sender, Receiver) {
    let (queue, seat) = hub.desk.join(service, window);
    let requests =
        Requests { hub: hub.clone(), service: service.clone(), queue, seat, begun: false };
    (Sender::new(Replies { hub: hub.clone() }), Receiver::new(requests))
}

/// The serving socket of a transport.
pub(crate) struct Hub {
    desk: Arc<Desk>,
    pump: AbortHandle,
    listening: BindGuard,
}

impl Hub {
    pub(crate) async fn open(
        settings: &Settings,
        plan: &EndpointSet,
        bound: &BoundEndpoints,
    ) -> Result<Arc<Self>> {
        if plan.is_empty() {
            return Err(config("no endpoint is for serving ends"));
        }
        let (router, real) = engine::serve(settings, plan).await?;
        let listening = BindGuard::new(bound);
        listening.add(real);
        let desk = Arc::new(Desk::new(router, settings.limits));
        let pump = tokio::spawn(desk.clone().pump()).abort_handle();
        Ok(Arc::new(Self { desk, pump, listening }))
    }
}

impl ManagedEndpoint for Hub {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        let changed = async {
            let real = engine::apply(self.desk.ports(), change).await?;
            self.listening.note(change, real.as_ref());
            Ok(real)
        };
        changed.boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.pump.abort();
        self.listening.clear();
        self.desk.close()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // It holds the socket.
        self.pump.abort();
    }
}

/// The sending half.
struct Replies {
    hub: Arc<Hub>,
}

impl Outbound for Replies {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.hub.desk.is_closed() {
            return Sending::ready(Err(closed()));
        }
        self.hub.desk.reply(message)
    }
}

/// The receiving half: a seat at the queue of a service.
struct Requests {
    hub: Arc<Hub>,
    service: Address,
    queue: Arc<Queue>,
    seat: u64,
    begun: bool,
}

impl Requests {
    /// What was taken, with the means to decline it, if there are others in this process.
    fn receive(&self, Taken { item, had }: Taken) -> Item {
        match (item, had) {
            (Ok(delivery), Some(had)) => {
                let (desk, queue) = (self.hub.desk.clone(), self.queue.clone());
                Ok(Declinable::deliver(delivery, desk, queue, had))
            }
            (item, _) => item,
        }
    }
}

impl Stream for Requests {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        if !self.begun {
            self.begun = true;
            self.hub.desk.begin(self.seat);
        }
        match self.queue.poll_take(self.seat, cx) {
            Poll::Pending => self.hub.desk.poll_read(self.seat, &self.service, cx),
            Poll::Ready(taken) => Poll::Ready(taken.map(|taken| self.receive(taken))),
        }
    }
}

impl Inbound for Requests {
    fn stop(self: Pin<&mut Self>) {
        self.queue.stop(self.seat);
    }

    fn poll_abandoned(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        loop {
            if let Some(call) = self.queue.take_abandoned(self.seat, cx) {
                return Poll::Ready(call);
            }
            if !self.begun {
                return Poll::Pending;
            }
            self.hub.desk.poll_ahead(self.seat, &self.service, &self.queue, cx);
            if !self.queue.is_told(self.seat) {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.hub.desk.leave(&self.service, &self.queue, self.seat);
    }
}
