//! Multi-publisher: sends one event to several destinations.

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::publisher::Publisher;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, Headers, Message, MessageId};
use crate::transport::{AnyTransport, DEFAULT_TIMEOUT, Transport};

/// Destination of an event: a channel, and a topic in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Destination {
    /// The channel.
    pub channel: Address,
    /// The topic.
    pub topic: Address,
}

impl Destination {
    /// Creates a destination.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the channel or the topic is not an address.
    pub fn new(
        channel: impl TryInto<Address, Error: Into<Error>>,
        topic: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Self> {
        let channel = channel.try_into().map_err(Into::into)?;
        Ok(Self { channel, topic: topic.try_into().map_err(Into::into)? })
    }
}

/// Outcome of an event at one destination.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Published {
    /// The destination.
    pub destination: Destination,
    /// Success, or the error of a [`Publisher`] of that channel.
    pub result: Result<()>,
}

/// Sender of events to several destinations at once, each with an outcome of its own.
///
/// A value is encoded once, and sent to all destinations at the same time, as one event with one
/// [`MessageId`]. A destination that fails or is slow holds up no other. The
/// destinations are those of the handle, or others [of one send](Self::publish_to).
///
/// The handle has one publisher for each channel, and opens that of a further channel when an event
/// first goes there: at most [`CHANNELS_MAX`](Self::CHANNELS_MAX). One that cannot be opened does
/// not count.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::pubsub::{Destination, MultiPublisher};
/// use polywire_core::{Headers, Memory, Result, Subscriber};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let mut archive: Subscriber<f64> = Subscriber::bind(&transport, "archive", MessagePack).await?;
///
/// let both = [Destination::new("weather", "paris")?, Destination::new("archive", "raw.paris")?];
/// let station = MultiPublisher::connect(&transport, both, MessagePack).await?;
/// for published in station.publish(&21.5).await? {
///     published.result?;
/// }
/// // This event alone goes somewhere else.
/// let only = [Destination::new("archive", "test")?];
/// station.publish_to(only, &0.0, Headers::new()).await?;
///
/// # for topic in ["raw.paris", "test"] {
/// #     assert_eq!(archive.next().await.unwrap()?.topic().as_str(), topic);
/// # }
/// # Ok(())
/// # }
/// ```
pub struct MultiPublisher<D> {
    transport: AnyTransport,
    destinations: Vec<Destination>,
    dialect: D,
    timeout: Duration,
    publishers: Mutex<Publishers<D>>,
}

/// Publishers by channel. A cell is empty until its publisher is open.
type Publishers<D> = FxHashMap<Address, Arc<OnceCell<Publisher<D>>>>;

impl<D: Dialect> MultiPublisher<D> {
    /// The largest number of channels of one handle.
    pub const CHANNELS_MAX: usize = 64;

    /// Connects to the channels of these destinations on `transport`. Set options on the returned
    /// value, then await it.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`] for more than [`CHANNELS_MAX`](Self::CHANNELS_MAX) channels.
    /// - [`ErrorKind::Unsupported`] if the transport does not support publish-subscribe.
    /// - Any error of the transport.
    pub fn connect(
        transport: &(impl Transport + Clone),
        destinations: impl IntoIterator<Item = Destination>,
        dialect: D,
    ) -> MultiPublisherConnect<D> {
        MultiPublisherConnect {
            publisher: Self {
                transport: AnyTransport::new(transport.clone()),
                destinations: destinations.into_iter().collect(),
                dialect,
                timeout: DEFAULT_TIMEOUT,
                publishers: Mutex::default(),
            },
        }
    }

    /// Publishes `value` to the destinations of the handle, and waits until each has the event, as
    /// [`Publisher::publish`] does. The outcomes are in the order of the destinations.
    ///
    /// If the future is dropped before it resolves, the event may have reached all, some or none
    /// of the destinations.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the value cannot be encoded: then no destination gets it.
    pub async fn publish(&self, value: &(impl Serialize + ?Sized)) -> Result<Vec<Published>> {
        self.publish_to(self.destinations.clone(), value, Headers::new()).await
    }

    /// Publishes `value` to these destinations, in place of those of the handle, with headers.
    /// Otherwise as [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_to(
        &self,
        destinations: impl IntoIterator<Item = Destination>,
        value: &(impl Serialize + ?Sized),
        headers: Headers,
    ) -> Result<Vec<Published>> {
        consume_budget().await;
        let mut event = Message::default().with_headers(headers);
        self.dialect.encode_call(value, &mut event).map_err(Error::unsent)?;
        let id = MessageId::unique();
        let sends = destinations.into_iter().map(|destination| {
            let event = event.clone().with_topic(destination.topic.clone());
            let id = id.clone();
            async move {
                let result = match self.publisher(&destination.channel).await {
                    Ok(publisher) => publisher.with_id(id).send_encoded(event).await,
                    Err(error) => Err(error),
                };
                Published { destination, result }
            }
        });
        Ok(join_all(sends).await)
    }

    /// Returns the publisher of a channel, and opens it before its first event.
    async fn publisher(&self, channel: &Address) -> Result<Publisher<D>> {
        let place = self.place(channel)?;
        let open = || {
            let connect = Publisher::connect(&self.transport, channel, self.dialect.clone());
            connect.timeout(self.timeout).into_future()
        };
        let opened = timeout(self.timeout, place.cell.get_or_try_init(open)).await;
        match opened {
            Ok(opened) => opened.cloned(),
            Err(_) => Err(self.timed_out(channel)),
        }
    }

    fn timed_out(&self, channel: &Address) -> Error {
        let error = Error::new(ErrorKind::DeadlineExceeded, "cannot open the channel: timed out");
        let error = error.with("milliseconds", self.timeout.as_millis());
        error.with("channel", channel).unsent()
    }

    /// Returns the place of a channel, for the time of one use.
    fn place<'p>(&'p self, channel: &'p Address) -> Result<Place<'p, D>> {
        let mut publishers = lock(&self.publishers);
        if !publishers.contains_key(channel) && publishers.len() >= Self::CHANNELS_MAX {
            let text = "cannot open the channel: the publisher has too many channels";
            let error = Error::new(ErrorKind::Config, text).with("limit", Self::CHANNELS_MAX);
            return Err(error.with("channel", channel).unsent());
        }
        let cell = publishers.entry(channel.clone()).or_default().clone();
        Ok(Place { publishers: &self.publishers, channel, cell })
    }
}

/// The place of a channel while it is used. If the channel is not open after its last use, the
/// place is free again.
struct Place<'p, D> {
    publishers: &'p Mutex<Publishers<D>>,
    channel: &'p Address,
    cell: Arc<OnceCell<Publisher<D>>>,
}

impl<D> Drop for Place<'_, D> {
    fn drop(&mut self) {
        if self.cell.initialized() {
            return;
        }
        let mut publishers = lock(self.publishers);
        // Under the lock, so that the last of several uses finds that it is the last.
        drop(std::mem::take(&mut self.cell));
        let is_free = publishers
            .get(self.channel)
            .is_some_and(|cell| Arc::strong_count(cell) == 1 && !cell.initialized());
        if is_free {
            publishers.remove(self.channel);
        }
    }
}

// No code panics while it holds the lock.
fn lock<D>(publishers: &Mutex<Publishers<D>>) -> MutexGuard<'_, Publishers<D>> {
    publishers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D> fmt::Debug for MultiPublisher<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiPublisher")
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

/// Builder of a [`MultiPublisher`], returned by [`MultiPublisher::connect`]. Await it to connect.
///
/// If the future is dropped, the publishers are not opened.
#[must_use = "a publisher does not connect unless it is awaited"]
#[derive(Debug)]
pub struct MultiPublisherConnect<D> {
    publisher: MultiPublisher<D>,
}

impl<D> MultiPublisherConnect<D> {
    /// Sets the longest time of publishing an event, and that of opening a channel before its first
    /// event. The default is 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.publisher.timeout = timeout;
        self
    }
}

impl<D: Dialect> IntoFuture for MultiPublisherConnect<D> {
    type Output = Result<MultiPublisher<D>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { publisher } = self;
        Box::pin(async move {
            consume_budget().await;
            for destination in &publisher.destinations {
                publisher.publisher(&destination.channel).await?;
            }
            Ok(publisher)
        })
    }
}
