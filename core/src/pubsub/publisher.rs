//! Publisher: sends events to a channel.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use bytestring::ByteString;
use futures_core::future::BoxFuture;
use serde::Serialize;

use tokio::task::coop::consume_budget;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::{Address, Headers, Message, MessageId};
use crate::middleware::Trace;
use crate::pipeline::OneWaySender;
use crate::transport::{DEFAULT_TIMEOUT, Transport, WireKind, log_sent};

/// Sender of events to a channel: each event has a topic and goes to every subscriber with a
/// matching filter.
///
/// An event that no filter matches is dropped. Clones use the same endpoint handle.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Publisher, Subscriber};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire_core::Result<()> {
/// # let transport = Memory::new();
/// # let readings = Subscriber::bind(&transport, "weather", MessagePack);
/// # let mut readings: Subscriber<f64> = readings.await?;
/// let weather = Publisher::connect(&transport, "weather", MessagePack).await?;
/// weather.publish("paris.temperature", &21.5).await?;
/// # assert_eq!(*readings.next().await.unwrap()?, 21.5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher<D> {
    sender: OneWaySender,
    dialect: D,
}

impl<D: Dialect> Publisher<D> {
    /// Connects to `channel` on `transport`. Set options on the returned value, then await it.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if `channel` is not an address.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport does not
    ///   support publish-subscribe.
    /// - Any error of the transport.
    pub fn connect<'t, T: Transport>(
        transport: &'t T,
        channel: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> PublisherConnect<'t, T, D> {
        let channel = channel.try_into().map_err(Into::into);
        PublisherConnect { transport, channel, dialect, timeout: DEFAULT_TIMEOUT }
    }

    /// Returns a publisher on the same endpoint handle whose events have this priority; see
    /// [`Pusher::with_priority`](crate::Pusher::with_priority).
    #[must_use]
    pub fn with_priority(&self, priority: u8) -> Self {
        Self { sender: self.sender.with_priority(priority), ..self.clone() }
    }

    /// Returns a publisher on the same endpoint handle whose events have this id: a publisher for
    /// one event; see [`Pusher::with_message_id`](crate::Pusher::with_message_id). Each subscriber
    /// gets the same id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `id` is no [`MessageId`].
    pub fn with_message_id(&self, id: impl TryInto<MessageId, Error: Into<Error>>) -> Result<Self> {
        Ok(self.with_id(id.try_into().map_err(Into::into)?))
    }

    /// Returns a publisher on the same endpoint handle whose events have this header; see
    /// [`Pusher::with_header`](crate::Pusher::with_header).
    #[must_use]
    pub fn with_header(&self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        Self { sender: self.sender.with_header(name, value), ..self.clone() }
    }

    /// Returns a publisher on the same endpoint handle whose events expire after this time, counted
    /// from each publishing; see [`Pusher::with_ttl`](crate::Pusher::with_ttl). A subscriber or
    /// listener drops an event that it has not begun by then.
    ///
    /// A publisher has no option that keeps expired events as dead letters. An event goes to any
    /// number of subscribers; only groups have dead letters, and no group has failed the event.
    #[must_use]
    pub fn with_ttl(&self, ttl: Duration) -> Self {
        Self { sender: self.sender.with_ttl(ttl), ..self.clone() }
    }

    /// Returns a publisher on the same endpoint handle whose events are not worth a disk; see
    /// [`Pusher::with_transient`](crate::Pusher::with_transient).
    #[must_use]
    pub fn with_transient(&self) -> Self {
        Self { sender: self.sender.with_transient(), ..self.clone() }
    }

    /// Returns a publisher on the same endpoint handle that records a span for each event, by the
    /// conventions of OpenTelemetry. The listener's span continues the trace.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Memory, Publisher, Pusher, Result};
    /// use polywire_core::middleware::Trace;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let weather = Publisher::connect(&transport, "weather", MessagePack).await?;
    /// let weather = weather.with_trace(&Trace::publisher("weather"));
    /// # let _ = weather;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_trace(&self, trace: &Trace) -> Self {
        Self { sender: self.sender.with_trace(trace), ..self.clone() }
    }

    /// Publishes `value` under `topic`, and waits until the event is handed over to the broker, or
    /// to the queue of each subscriber.
    ///
    /// Without a broker, the publisher waits for a full subscriber with the policy
    /// [`Overflow::Wait`](crate::Overflow::Wait). If the future is dropped before it resolves, the
    /// event may have reached all, some or none of the subscribers.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if `topic` is not an address.
    /// - [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value cannot be encoded.
    /// - [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if publishing takes
    ///   longer than its [timeout](PublisherConnect::timeout).
    /// - Any error of the transport.
    pub async fn publish<V: Serialize + ?Sized>(
        &self,
        topic: impl TryInto<Address, Error: Into<Error>>,
        value: &V,
    ) -> Result<()> {
        self.publish_with(topic, value, Headers::new()).await
    }

    /// Publishes with headers; see [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_with<V: Serialize + ?Sized>(
        &self,
        topic: impl TryInto<Address, Error: Into<Error>>,
        value: &V,
        headers: Headers,
    ) -> Result<()> {
        let topic: Result<Address> = topic.try_into().map_err(Into::into);
        let event = topic.map(|topic| Message::default().with_topic(topic).with_headers(headers));
        self.send(value, event).await
    }

    /// Publishes a call of `method` with these arguments under `topic`, each chosen at run time;
    /// see [`publish`](Self::publish).
    ///
    /// A [`Listener`](crate::Listener) that [serves](crate::Listener::serve) a
    /// [`Router`](crate::Router) runs the method of that name, or the event handlers of the topic
    /// if it has no such method. No caller gets the result of the method. A listener that
    /// [listens](crate::Listener::listen) with one handler, or a [`Subscriber`](crate::Subscriber),
    /// gets the arguments as the value of the event.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Memory, Result};
    /// use polywire_core::{Listener, Publisher, Router};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let cache = Router::new(MessagePack)
    ///     .method("cache.drop", async |(key, age): (String, u32)| {
    ///         println!("{key} of {age} s is dropped");
    ///         Ok(())
    ///     });
    /// let listener = Listener::bind(&transport, "nodes", MessagePack).filter("europe.#").await?;
    /// # let handle = listener.handle();
    /// tokio::spawn(listener.serve(cache));
    ///
    /// let nodes = Publisher::connect(&transport, "nodes", MessagePack).await?;
    /// nodes.publish_call("europe.paris", "cache.drop", &("front page", 60)).await?;
    /// # while handle.stats().done == 0 { tokio::task::yield_now().await }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish); also [`ErrorKind::Config`](crate::ErrorKind::Config) if
    /// `method` is not an address.
    pub async fn publish_call<V: Serialize + ?Sized>(
        &self,
        topic: impl TryInto<Address, Error: Into<Error>>,
        method: impl TryInto<Address, Error: Into<Error>>,
        args: &V,
    ) -> Result<()> {
        let topic: Result<Address> = topic.try_into().map_err(Into::into);
        let method: Result<Address> = method.try_into().map_err(Into::into);
        let event = topic.map(|topic| Message::default().with_topic(topic));
        let event = event.and_then(|event| method.map(|method| event.with_method(method)));
        self.send(args, event).await
    }

    /// Returns a publisher on the same endpoint handle whose events have this id.
    pub(super) fn with_id(&self, id: MessageId) -> Self {
        Self { sender: self.sender.with_message_id(id), ..self.clone() }
    }

    /// Publishes an event whose value is encoded already.
    pub(super) async fn send_encoded(&self, mut event: Message) -> Result<()> {
        let applied = self.sender.apply_options(&mut event);
        self.sender.send(applied.map(|()| event)).await
    }

    async fn send<V: Serialize + ?Sized>(&self, value: &V, event: Result<Message>) -> Result<()> {
        self.sender.send(event.and_then(|event| self.encode(value, event))).await
    }

    /// Writes the value and the options of the handle into an event.
    fn encode<V: Serialize + ?Sized>(&self, value: &V, mut event: Message) -> Result<Message> {
        self.sender.apply_options(&mut event)?;
        self.dialect.encode_call(value, &mut event).map_err(Error::unsent)?;
        Ok(event)
    }
}

impl<D> fmt::Debug for Publisher<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("timeout", &self.sender.timeout).finish_non_exhaustive()
    }
}

/// Builder of a [`Publisher`], returned by [`Publisher::connect`]. Await it to connect.
///
/// If the future is dropped, the publisher is not opened.
#[must_use = "a publisher does not connect unless it is awaited"]
pub struct PublisherConnect<'t, T, D> {
    transport: &'t T,
    channel: Result<Address>,
    dialect: D,
    timeout: Duration,
}

impl<T, D> PublisherConnect<'_, T, D> {
    /// Sets the longest time of publishing an event. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for PublisherConnect<'t, T, D> {
    type Output = Result<Publisher<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, channel, dialect, timeout } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let channel = channel?;
            let sender = transport.publisher(&channel).await?;
            let sender = log_sent(sender, WireKind::Event, &channel);
            let sender = OneWaySender::new(transport, sender, timeout, PRIORITY);
            Ok(Publisher { sender, dialect })
        })
    }
}

impl<T, D> fmt::Debug for PublisherConnect<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherConnect").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// The option of a priority, as errors name it.
const PRIORITY: &str = "Publisher::with_priority";
