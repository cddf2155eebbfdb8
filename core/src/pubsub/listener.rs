//! The end that deals with events by a handler.

use std::fmt;
use std::future::IntoFuture;

use futures_core::future::BoxFuture;

use super::dropped::Dropped;
use super::event_stream::EventStream;
use super::overflow::Overflow;
use super::subscriber::SubscribeRequest;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Filter};
use crate::rpc::Handler;
use crate::service::Service;
use crate::transport::Transport;
use crate::transport::{Filters, Group, Window};
use crate::worker::{
    EndpointLabel, HandlerService, Retries, Serving, WorkHandle, WorkLoop,
};

/// Deals with what is published on a channel by a handler, at most a [`Window`] of events at once.
///
/// As a member of a [group](ListenerBind::group) it acknowledges an event when its handler has
/// succeeded, and gives it back when it failed or panicked, as its [`Retries`] say; what fails for
/// good is kept among the [`DeadLetters`](crate::DeadLetters) of the group, where the transport has
/// such. On its own, each event has one attempt. Everything else is as with a
/// [`Subscriber`](crate::Subscriber).
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Context, Group, Listener, Memory, Publisher, Result};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let listener = Listener::bind(&transport, "orders", MessagePack)
///     .filter("*.paid")
///     .group(Group::new("billing")?.durable())
///     .await?;
/// let handle = listener.handle();
/// tokio::spawn(listener.listen(|context: Context, amount: f64| async move {
///     println!("{:?}: {amount}", context.topic);
///     Ok(())
/// }));
/// # let orders = Publisher::connect(&transport, "orders", MessagePack).await?;
/// # orders.publish("7.paid", &19.9).await?;
/// # while handle.stats().done == 0 { tokio::task::yield_now().await }
/// handle.drain().await;
/// # Ok(())
/// # }
/// ```
pub struct Listener<D> {
    channel: Address,
    dialect: D,
    filters: Filters,
    dropped: Dropped,
    works: WorkLoop,
}

impl<D: Dialect> Listener<D> {
    /// Binds to `channel` on `transport`. Await it, or set options first.
    ///
    /// # Errors
    ///
    /// As [`Subscriber::bind`](crate::Subscriber::bind).
    pub fn bind<'t, C: Transport>(
        transport: &'t C,
        channel: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> ListenerBind<'t, C, D> {
        let wish = SubscribeRequest::new(transport, channel);
        ListenerBind { wish, dialect, retries: Retries::default(), insists: false }
    }

    /// A handle to stop the listener by, and to see what it does.
    #[must_use]
    pub fn handle(&self) -> WorkHandle {
        self.works.handle.clone()
    }

    /// How many events were dropped because it was too slow, by its [policy](Overflow).
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.count()
    }

    /// Its filters, to be changed while it runs.
    #[must_use]
    pub fn filters(&self) -> Filters {
        self.filters.clone()
    }

    /// Listens until it is drained, or the transport is closed.
    ///
    /// The handler takes the event, or a [`Context`](crate::Context), which has the topic, and the
    /// event. Dropping the future stops at once: what runs is dropped, and goes to another
    /// member of the group, if there is one.
    pub fn listen<H: Handler<M>, M: 'static>(self, handler: H) -> Serving {
        let service = HandlerService::new(self.dialect.clone(), handler);
        self.serve(service)
    }

    /// Listens with a service; otherwise as [`listen`](Self::listen).
    pub fn serve<S: Service>(self, service: S) -> Serving {
        self.works.run(service)
    }
}

impl<D> fmt::Debug for Listener<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// A listener about to bind; made by [`Listener::bind`]. Await it.
#[must_use = "a listener does not bind unless it is awaited"]
pub struct ListenerBind<'t, C, D> {
    wish: SubscribeRequest<'t, C>,
    dialect: D,
    retries: Retries,
    /// Whether the backend has to be able to do what the policy says.
    insists: bool,
}

impl<C, D> ListenerBind<'_, C, D> {
    /// Wants the topics that match this one as well. The default is to want them all.
    pub fn filter(mut self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Self {
        self.wish.filter(filter);
        self
    }

    /// Shares with the others of this group.
    pub fn group(mut self, group: Group) -> Self {
        self.wish.group = Some(group);
        self
    }

    /// How many events are dealt with at once. The default is 128.
    pub fn window(mut self, window: Window) -> Self {
        self.wish.window = window;
        self
    }

    /// What to do when it holds that many. The default is to [wait](Overflow::Wait).
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.wish.overflow = overflow;
        self
    }

    /// How often an event of a group that fails is tried in all, at least once, otherwise as by
    /// default, and as far as the transport can. The default is 5.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { retries: Retries::new(attempts), insists: false, ..self }
    }

    /// How often and how soon an event of a group that fails is tried again, and what becomes of it
    /// then; as with a [`Worker`](crate::pipeline::WorkerBind::retries). Without a group it is
    /// [`ErrorKind::Config`].
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, insists: true, ..self }
    }
}

impl<'t, C: Transport, D: Dialect> IntoFuture for ListenerBind<'t, C, D> {
    type Output = Result<Listener<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { wish, dialect, retries, insists } = self;
        Box::pin(async move {
            let (channel, window, can) = (wish.channel.clone()?, wish.window, wish.capabilities());
            if insists {
                let lonely =
                    || Error::new(ErrorKind::Config, "without a group, an event has one attempt");
                wish.group.as_ref().ok_or_else(|| lonely().unsent())?;
                retries.check(&can)?;
            }
            let EventStream { receiver, filters, dropped } = wish.open().await?;
            let works = WorkLoop::new(
                EndpointLabel { role: "listener", name: channel.clone() },
                receiver,
                window,
                retries,
                can,
            );
            Ok(Listener { channel, dialect, filters, dropped, works })
        })
    }
}

impl<C, D> fmt::Debug for ListenerBind<'_, C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBind").field("channel", &self.wish.channel).finish_non_exhaustive()
    }
}
