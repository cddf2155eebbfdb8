//! The end that publishes.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use futures_core::future::BoxFuture;
use serde::Serialize;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::{Address, Headers, Message};
use crate::middleware::Trace;
use crate::pipeline::OneWaySender;
use crate::transport::DEFAULT_TIMEOUT;
use crate::transport::Transport;

/// Publishes on a channel: each message has a topic, and goes to every subscriber with a filter
/// that matches it.
///
/// What nobody wants is gone. Clones publish on the same end.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Publisher, Subscriber};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire_core::Result<()> {
/// # let transport = Memory::new();
/// # let mut readings: Subscriber<f64> = Subscriber::bind(&transport, "weather", MessagePack).await?;
/// let weather = Publisher::connect(&transport, "weather", MessagePack).await?;
/// weather.publish("paris.temperature", &21.5).await?;
/// # assert_eq!(*readings.next().await.unwrap()?, 21.5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Publisher<D> {
    outlet: OneWaySender,
    dialect: D,
}

impl<D: Dialect> Publisher<D> {
    /// Connects to `channel` on `transport`. Await it, or set options first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `channel` is not an address,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport does not publish,
    /// or what it says if it cannot connect.
    pub fn connect<'t, T: Transport>(
        transport: &'t T,
        channel: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> PublisherConnect<'t, T, D> {
        let channel = channel.try_into().map_err(Into::into);
        PublisherConnect { transport, channel, dialect, timeout: DEFAULT_TIMEOUT }
    }

    /// A publisher on the same end whose events are this urgent, as with
    /// [`Pusher::with_priority`](crate::Pusher::with_priority).
    #[must_use]
    pub fn with_priority(&self, priority: u8) -> Self {
        Self { outlet: self.outlet.with_priority(priority), ..self.clone() }
    }

    /// A publisher on the same end that makes a span of each event, by the conventions of
    /// OpenTelemetry, which whoever takes it goes on from:
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Memory, Publisher, Pusher, Result};
    /// use polywire_core::middleware::Trace;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let weather = Publisher::connect(&transport, "weather", MessagePack).await?.with_trace(&Trace::publisher("weather"));
    /// # let _ = weather;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_trace(&self, trace: &Trace) -> Self {
        Self { outlet: self.outlet.with_trace(trace), ..self.clone() }
    }

    /// Publishes `value` under `topic`, and waits until it is handed over: to the broker, or to the
    /// queue of each subscriber that is there. A subscriber that [waits](crate::Overflow::Wait)
    /// is waited for, where no broker stands between.
    ///
    /// Dropped before it resolves, it may have been published to all, to some or to nobody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `topic` is not an address,
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the value cannot be encoded,
    /// [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if it was not handed
    /// over within the time that it may take, or what the transport says.
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
        let (topic, priority) = (topic.try_into().map_err(Into::into)?, self.outlet.priority()?);
        let mut message = Message { topic: Some(topic), headers, priority, ..Message::default() };
        self.dialect.encode_call(value, &mut message).map_err(Error::unsent)?;
        self.outlet.send(message).await
    }
}

impl<D> fmt::Debug for Publisher<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("timeout", &self.outlet.timeout).finish_non_exhaustive()
    }
}

/// A publisher about to connect; made by [`Publisher::connect`]. Await it.
#[must_use = "a publisher does not connect unless it is awaited"]
pub struct PublisherConnect<'t, T, D> {
    transport: &'t T,
    channel: Result<Address>,
    dialect: D,
    timeout: Duration,
}

impl<T, D> PublisherConnect<'_, T, D> {
    /// How long publishing may take. The default is 30 seconds.
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
            let sender = transport.publisher(&channel?).await?;
            Ok(Publisher { outlet: OneWaySender::new(transport, sender, timeout), dialect })
        })
    }
}

impl<T, D> fmt::Debug for PublisherConnect<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherConnect").field("channel", &self.channel).finish_non_exhaustive()
    }
}
