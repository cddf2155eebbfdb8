//! Subscriber: a stream of events.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::event::Event;
use super::event_stream::EventStream;
use super::event_stream_bind::EventStreamBind;
use super::overflow::Overflow;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::{Address, Filter};
#[cfg(doc)]
use crate::pipeline::Job;
use crate::pipeline::{DecodeFn, decode_fn};
use crate::transport::{Capabilities, Filters, Group, Transport, Window};
use crate::worker::poll_unexpired;

/// Stream of the events of a channel, for programs that drive the work themselves. A
/// [`Listener`](crate::Listener) runs a handler instead.
///
/// - The subscriber receives every matching event that is published after it has bound. It may miss
///   events while the connection is lost, unless the transport holds them.
/// - Without a [filter](SubscriberBind::filter) it receives the events of every topic.
/// - By default it receives its own copy of each event, which needs no settling.
/// - In a [group](SubscriberBind::group) each event goes to one member, which has to acknowledge
///   the event, like a [`Job`].
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Publisher, Result, Subscriber};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let mut readings: Subscriber<f64> = Subscriber::bind(&transport, "weather", MessagePack)
///     .filter("paris.*")
///     .filter("#.wind")
///     .await?;
/// # let weather = Publisher::connect(&transport, "weather", MessagePack).await?;
/// # weather.publish("paris.temperature", &21.5).await?;
/// while let Some(reading) = readings.next().await {
///     let reading = reading?;
///     println!("{}: {}", reading.topic(), *reading);
/// #   break;
/// }
/// readings.filters().add("lyon.#").await?;
/// readings.filters().remove("#.wind").await?;
/// # Ok(())
/// # }
/// ```
pub struct Subscriber<T> {
    events: EventStream,
    decode: DecodeFn<T>,
    capabilities: Capabilities,
}

impl<T: DeserializeOwned> Subscriber<T> {
    /// Binds to `channel` on `transport`. Set options on the returned value, then await it.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if `channel` or a filter is malformed, or
    ///   if the group does not fit the other options.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport does not
    ///   support an option.
    /// - Any error of the transport.
    pub fn bind<'t, C: Transport>(
        transport: &'t C,
        channel: impl TryInto<Address, Error: Into<Error>>,
        dialect: impl Dialect,
    ) -> SubscriberBind<'t, C, T> {
        let stream = EventStreamBind::new(transport, channel, "Subscriber::group");
        SubscriberBind { stream, decode: decode_fn(dialect) }
    }
}

impl<T> Subscriber<T> {
    /// Waits for the next event; `None` after the transport is closed.
    ///
    /// If the future is dropped, no event is lost.
    ///
    /// # Errors
    ///
    /// The stream continues after each error that is not [fatal](Error::is_fatal).
    ///
    /// - [`ErrorKind::Codec`](crate::ErrorKind::Codec) if an event cannot be decoded.
    /// - [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected) if events may have been
    ///   missed.
    /// - [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded), fatal, if the subscriber was too
    ///   slow and its policy is [`Disconnect`](Overflow::Disconnect).
    /// - [`ErrorKind::Denied`](crate::ErrorKind::Denied), fatal, if the broker refuses for good.
    pub async fn next(&mut self) -> Option<Result<Event<T>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns the filters, to change them while the subscriber runs.
    #[must_use]
    pub fn filters(&self) -> Filters {
        self.events.filters.clone()
    }

    /// Returns the number of events that the [overflow policy](Overflow) has dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.events.dropped()
    }

    /// Stops receiving. The stream may yield events that have arrived already; then it ends.
    pub fn stop(&mut self) {
        self.events.receiver.stop();
    }
}

impl<T> Stream for Subscriber<T> {
    type Item = Result<Event<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let Self { events, decode, capabilities } = &mut *self;
        let next = std::task::ready!(poll_unexpired(&mut events.receiver, capabilities, cx));
        Poll::Ready(next.map(|delivery| Event::decode(delivery?, decode, *capabilities)))
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Builder of a [`Subscriber`], returned by [`Subscriber::bind`]. Await it to bind.
///
/// If the future is dropped, the subscriber is not opened.
#[must_use = "a subscriber does not bind unless it is awaited"]
pub struct SubscriberBind<'t, C, T> {
    stream: EventStreamBind<'t, C>,
    decode: DecodeFn<T>,
}

impl<C, T> SubscriberBind<'_, C, T> {
    /// Adds a topic filter. Without a filter, the subscriber receives every topic.
    pub fn filter(mut self, filter: impl TryInto<Filter, Error: Into<Error>>) -> Self {
        self.stream.filter(filter);
        self
    }

    /// Joins a group, whose members share the events.
    pub fn group(mut self, group: Group) -> Self {
        self.stream.group = Some(group);
        self
    }

    /// Sets the number of events that the subscriber holds. The default is 128.
    pub fn window(mut self, window: Window) -> Self {
        self.stream.window = window;
        self
    }

    /// Sets the policy for a full window. The default is [`Overflow::Wait`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.stream.overflow = overflow;
        self
    }
}

impl<'t, C: Transport, T: 'static> IntoFuture for SubscriberBind<'t, C, T> {
    type Output = Result<Subscriber<T>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { stream, decode } = self;
        Box::pin(async move {
            let capabilities = stream.capabilities();
            Ok(Subscriber { events: stream.open().await?, decode, capabilities })
        })
    }
}

impl<C, T> fmt::Debug for SubscriberBind<'_, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberBind")
            .field("channel", &self.stream.channel)
            .finish_non_exhaustive()
    }
}
