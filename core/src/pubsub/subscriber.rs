//! The end that takes events, one after the other.

use std::fmt;
use std::future::IntoFuture;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::event_stream::EventStream;
use super::overflow::Overflow;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::{Address, DeadLetterReason, Filter};
use crate::pipeline::{Job, Unsettled};
use crate::pipeline::{Read, reader};
use crate::transport::{Capabilities, Transport};
use crate::transport::{Filters, Group, Subscription, Window};
use crate::worker::dead_letter_or_discard;

/// Takes what is published on a channel: a stream, for programs that drive the work themselves. See
/// [`Listener`](crate::Listener) for those that only want to say what an event does.
///
/// What is published after it is bound is not missed, unless the connection is lost meanwhile and
/// the transport cannot collect. It wants every topic, until it is given a
/// [filter](SubscriberBind::filter). By default it gets its own copy of everything, settled as it
/// is taken; in a [group](SubscriberBind::group) each event goes to one member, and has to
/// be acknowledged, like a [`Job`].
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Publisher, Result, Subscriber};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let mut readings: Subscriber<f64> =
///     Subscriber::bind(&transport, "weather", MessagePack).filter("paris.*").filter("#.wind").await?;
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
    feed: EventStream,
    read: Read<T>,
    can: Capabilities,
}

impl<T: DeserializeOwned> Subscriber<T> {
    /// Binds to `channel` on `transport`. Await it, or set options first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `channel`, a filter or the group is
    /// malformed, [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport
    /// cannot do what was asked, or what it says if it cannot bind.
    pub fn bind<'t, C: Transport>(
        transport: &'t C,
        channel: impl TryInto<Address, Error: Into<Error>>,
        dialect: impl Dialect,
    ) -> SubscriberBind<'t, C, T> {
        SubscriberBind { wish: SubscribeRequest::new(transport, channel), read: reader(dialect) }
    }
}

impl<T> Subscriber<T> {
    /// The next event; `None` when the transport is closed. Nothing is lost if it is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for an event that cannot be read,
    /// [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected) when events may have been
    /// missed, [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) as the last of a
    /// subscriber that was too slow and is to be [disconnected](Overflow::Disconnect) then.
    /// After any other one the stream goes on.
    pub async fn next(&mut self) -> Option<Result<Event<T>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Its filters, to be changed while it runs.
    #[must_use]
    pub fn filters(&self) -> Filters {
        self.feed.filters.clone()
    }

    /// How many events were dropped because it was too slow, by its [policy](Overflow).
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.feed.dropped()
    }

    /// Takes no more events. What is there already may still be handed out; then the stream ends.
    pub fn stop(&mut self) {
        self.feed.receiver.stop();
    }
}

impl<T> Stream for Subscriber<T> {
    type Item = Result<Event<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(Pin::new(&mut self.feed.receiver).poll_next(cx));
        Poll::Ready(next.map(|delivery| Event::read(delivery?, &self.read, self.can)))
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// What was published, and under which topic.
///
/// One that came to a member of a group has to be settled, and goes to another member if it is
/// dropped unsettled; for others, settling changes nothing.
pub struct Event<T> {
    topic: Address,
    job: Job<T>,
}

impl<T> Event<T> {
    fn read(
        delivery: crate::transport::Delivery,
        read: &Read<T>,
        can: Capabilities,
    ) -> Result<Self> {
        let Some(topic) = delivery.message.topic.clone() else {
            let error = Error::new(crate::error::ErrorKind::Codec, "the event has no topic");
            delivery.receipt.settle(dead_letter_or_discard(
                &can,
                DeadLetterReason::Unreadable,
                error.to_string(),
            ));
            return Err(error);
        };
        Ok(Self { topic, job: Job::read(delivery, read, can)? })
    }

    /// What it is about.
    #[must_use]
    pub fn topic(&self) -> &Address {
        &self.topic
    }

    /// What is known about it: headers, and which attempt it is.
    #[must_use]
    pub fn context(&self) -> &Context {
        self.job.context()
    }

    /// Says that it is dealt with.
    pub fn ack(self) {
        self.job.ack();
    }

    /// Says that it never will be dealt with.
    pub fn discard(self) {
        self.job.discard();
    }

    /// Gives it back to the group.
    ///
    /// # Errors
    ///
    /// [`Unsettled`] if there is no group to give it to.
    pub fn requeue(self) -> Result<(), Unsettled<Self>> {
        let Self { topic, job } = self;
        job.requeue().map_err(|unsettled| unsettled.map(|job| Self { topic, job }))
    }

    /// Gives it back to the group, for after a while; see [`Job::retry_after`].
    ///
    /// # Errors
    ///
    /// As [`Job::retry_after`]; also if there is no group to give it to.
    pub fn retry_after(
        self,
        pause: Duration,
        error: impl fmt::Display,
    ) -> Result<(), Unsettled<Self>> {
        let Self { topic, job } = self;
        job.retry_after(pause, error).map_err(|unsettled| unsettled.map(|job| Self { topic, job }))
    }

    /// Says that it never will be dealt with, and is to be kept among the dead letters of the
    /// group; see [`Job::dead_letter`].
    ///
    /// # Errors
    ///
    /// As [`Job::dead_letter`]; also if there is no group that could keep it.
    pub fn dead_letter(self, error: impl fmt::Display) -> Result<(), Unsettled<Self>> {
        let Self { topic, job } = self;
        job.dead_letter(error).map_err(|unsettled| unsettled.map(|job| Self { topic, job }))
    }
}

impl<T> Deref for Event<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.job
    }
}

impl<T: fmt::Debug> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("topic", &self.topic)
            .field("value", &**self)
            .finish_non_exhaustive()
    }
}

/// A subscriber about to bind; made by [`Subscriber::bind`]. Await it.
#[must_use = "a subscriber does not bind unless it is awaited"]
pub struct SubscriberBind<'t, C, T> {
    wish: SubscribeRequest<'t, C>,
    read: Read<T>,
}

impl<C, T> SubscriberBind<'_, C, T> {
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

    /// How many events it may hold. The default is 128.
    pub fn window(mut self, window: Window) -> Self {
        self.wish.window = window;
        self
    }

    /// What to do when it holds that many. The default is to [wait](Overflow::Wait).
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.wish.overflow = overflow;
        self
    }
}

impl<'t, C: Transport, T: 'static> IntoFuture for SubscriberBind<'t, C, T> {
    type Output = Result<Subscriber<T>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { wish, read } = self;
        Box::pin(async move {
            let can = wish.capabilities();
            Ok(Subscriber { feed: wish.open().await?, read, can })
        })
    }
}

impl<C, T> fmt::Debug for SubscriberBind<'_, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberBind")
            .field("channel", &self.wish.channel)
            .finish_non_exhaustive()
    }
}

/// What a subscriber or a listener is asked to be.
pub(super) struct SubscribeRequest<'t, C> {
    transport: &'t C,
    pub(super) channel: Result<Address>,
    filters: Result<Vec<Filter>>,
    pub(super) group: Option<Group>,
    pub(super) window: Window,
    pub(super) overflow: Overflow,
}

impl<'t, C> SubscribeRequest<'t, C> {
    pub(super) fn new(
        transport: &'t C,
        channel: impl TryInto<Address, Error: Into<Error>>,
    ) -> Self {
        Self {
            transport,
            channel: channel.try_into().map_err(Into::into),
            filters: Ok(Vec::new()),
            group: None,
            window: Window::default(),
            overflow: Overflow::default(),
        }
    }

    pub(super) fn filter(&mut self, filter: impl TryInto<Filter, Error: Into<Error>>) {
        match (&mut self.filters, filter.try_into()) {
            (Ok(filters), Ok(filter)) => filters.push(filter),
            (Ok(_), Err(error)) => self.filters = Err(error.into()),
            // The first mistake is the one that is told.
            (Err(_), _) => {}
        }
    }
}

impl<C: Transport> SubscribeRequest<'_, C> {
    pub(super) fn capabilities(&self) -> Capabilities {
        self.transport.capabilities()
    }

    pub(super) async fn open(self) -> Result<EventStream> {
        let mut filters = self.filters?;
        if filters.is_empty() {
            filters.push(Filter::all());
        }
        let subscription = Subscription { filters, group: self.group, window: self.window };
        EventStream::open(self.transport, &self.channel?, subscription, self.overflow).await
    }
}
