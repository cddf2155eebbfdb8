//! Listener: runs a handler for each event.

use std::fmt;
use std::future::IntoFuture;

use futures_core::future::BoxFuture;

use tokio::task::coop::consume_budget;

use super::dropped_events::DroppedEvents;
use super::event_stream::EventStream;
use super::event_stream_bind::EventStreamBind;
use super::overflow::Overflow;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Filter};
use crate::rpc::Handler;
use crate::service::Service;
use crate::transport::{DeadLetterSource, Filters, Group, Transport, Window};
use crate::worker::{BoundWorker, EndpointLabel, HandlerService, Retries, Serving, WorkHandle};

/// Listener that runs a handler for each event of a channel, for at most a [`Window`] of events at
/// once.
///
/// - A member of a [group](ListenerBind::group) acknowledges an event after its handler succeeded.
/// - If the handler fails or panics, the event is retried as the [`Retries`] of the member define.
/// - If the last attempt fails, the event goes to the [`DeadLetters`](crate::DeadLetters) of the
///   group, where the transport supports dead letters.
/// - Without a group, each event has one attempt.
///
/// Everything else is as with a [`Subscriber`](crate::Subscriber).
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
    dropped: DroppedEvents,
    work_loop: BoundWorker,
}

impl<D: Dialect> Listener<D> {
    /// Binds to `channel` on `transport`. Set options on the returned value, then await it.
    ///
    /// # Errors
    ///
    /// As [`Subscriber::bind`](crate::Subscriber::bind).
    pub fn bind<'t, C: Transport>(
        transport: &'t C,
        channel: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> ListenerBind<'t, C, D> {
        let stream = EventStreamBind::new(transport, channel, "Listener::group");
        ListenerBind { stream, dialect, retries: Retries::default(), strict: false }
    }

    /// Returns a handle to stop the listener and to read its statistics.
    #[must_use]
    pub fn handle(&self) -> WorkHandle {
        self.work_loop.handle.clone()
    }

    /// Returns the number of events that the [overflow policy](Overflow) has dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.count()
    }

    /// Returns the filters, to change them while the listener runs.
    #[must_use]
    pub fn filters(&self) -> Filters {
        self.filters.clone()
    }

    /// Runs `handler` for each event until the listener is drained or the transport is closed. The
    /// output is the reason, or the error of a transport that refuses for good; see [`Serving`].
    ///
    /// The handler receives the event, or a [`Context`](crate::Context), which contains the topic,
    /// and the event. If the future is dropped, the running handlers are dropped, and the events of
    /// a group are redelivered to the group.
    pub fn listen<H: Handler<M>, M: 'static>(self, handler: H) -> Serving {
        let service = HandlerService::new(self.dialect.clone(), handler);
        self.serve(service)
    }

    /// Runs a service for each event; otherwise as [`listen`](Self::listen).
    pub fn serve<S: Service>(self, service: S) -> Serving {
        self.work_loop.run(service)
    }
}

impl<D> fmt::Debug for Listener<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Builder of a [`Listener`], returned by [`Listener::bind`]. Await it to bind.
///
/// If the future is dropped, the listener is not opened.
#[must_use = "a listener does not bind unless it is awaited"]
pub struct ListenerBind<'t, C, D> {
    stream: EventStreamBind<'t, C>,
    dialect: D,
    retries: Retries,
    /// Set if the transport must support the whole retry policy.
    strict: bool,
}

impl<C, D> ListenerBind<'_, C, D> {
    /// Adds a topic filter. Without a filter, the listener receives every topic.
    pub fn filter(mut self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Self {
        self.stream.filter(filter);
        self
    }

    /// Joins a group, whose members share the events.
    pub fn group(mut self, group: Group) -> Self {
        self.stream.group = Some(group);
        self
    }

    /// Sets the number of events that are handled at once. The default is 128.
    pub fn window(mut self, window: Window) -> Self {
        self.stream.window = window;
        self
    }

    /// Sets the policy for a full window. The default is [`Overflow::Wait`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.stream.overflow = overflow;
        self
    }

    /// Sets the total number of attempts at a failing event of a group, at least 1, with the other
    /// defaults of [`Retries`]. The default is 5. The transport applies the policy as far as it
    /// supports it.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { retries: Retries::new(attempts), strict: false, ..self }
    }

    /// Sets the policy for failing events of a group, as for a
    /// [`Worker`](crate::pipeline::WorkerBind::retries). Without a group, binding fails with
    /// [`ErrorKind::Config`].
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, strict: true, ..self }
    }
}

impl<'t, C: Transport, D: Dialect> IntoFuture for ListenerBind<'t, C, D> {
    type Output = Result<Listener<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { stream, dialect, retries, strict } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let (channel, window) = (stream.channel.clone()?, stream.window);
            let capabilities = stream.capabilities();
            if strict {
                stream.group.as_ref().ok_or_else(no_group)?;
                retries.check(&capabilities, "Listener::retries")?;
            }
            let source = stream.group.as_ref().map(|group| DeadLetterSource::Group {
                channel: channel.clone(),
                group: group.name().clone(),
            });
            let EventStream { receiver, filters, dropped } = stream.open().await?;
            let work_loop = BoundWorker::new(
                EndpointLabel { role: "listener", name: channel.clone() },
                source,
                receiver,
                window,
                retries,
                capabilities,
            );
            Ok(Listener { channel, dialect, filters, dropped, work_loop })
        })
    }
}

fn no_group() -> Error {
    let text = "cannot retry events without a group: each event has one attempt";
    Error::new(ErrorKind::Config, text).unsent()
}

impl<C, D> fmt::Debug for ListenerBind<'_, C, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBind")
            .field("channel", &self.stream.channel)
            .finish_non_exhaustive()
    }
}
