//! The end that pushes jobs.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use futures_core::future::BoxFuture;
use serde::Serialize;

use super::one_way_sender::OneWaySender;
use crate::dialect::Dialect;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::message::{Address, Headers, Message};
use crate::middleware::Trace;
use crate::transport::DEFAULT_TIMEOUT;
use crate::transport::Transport;

/// Pushes jobs into a queue, each for exactly one worker.
///
/// Backpressure reaches it: while the queue is full, or the workers are, [`push`](Self::push)
/// waits. Clones push into the same end.
///
/// What a job that was pushed can rely on differs: a broker keeps it until a worker has
/// acknowledged it; over ZeroMQ it is in the queue of a peer, and lost with it. See
/// [`Capabilities`](crate::Capabilities).
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Puller, Pusher};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire_core::Result<()> {
/// # let transport = Memory::new();
/// let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await?;
/// pusher.push(&("cat.jpg", 128)).await?;
/// # let mut jobs: Puller<(String, u32)> = Puller::bind(&transport, "thumbnails", MessagePack).await?;
/// # assert_eq!(jobs.next().await.unwrap()?.0, "cat.jpg");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pusher<D> {
    outlet: OneWaySender,
    dialect: D,
    /// What the names of methods begin with.
    prefix: Option<Address>,
}

impl<D: Dialect> Pusher<D> {
    /// Connects to `queue` on `transport`. Await it, or set options first. It does not ask whether
    /// a worker is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `queue` is not an address, [`ErrorKind::Unsupported`] if the
    /// transport has no pipeline, or what it says if it cannot connect.
    pub fn connect<'t, T: Transport>(
        transport: &'t T,
        queue: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> PusherConnect<'t, T, D> {
        let queue = queue.try_into().map_err(Into::into);
        PusherConnect { transport, queue, dialect, timeout: DEFAULT_TIMEOUT, durable: false }
    }

    /// A pusher into the same end whose jobs are this urgent: where queues know priorities, higher
    /// ones are taken first. Others are as 0. In RabbitMQ that takes a queue that was
    /// [set up](https://docs.rs/polywire-amqp/latest/polywire_amqp/struct.QueueOptions.html) for it.
    ///
    /// Where the transport has no priorities, each push is [`ErrorKind::Unsupported`].
    #[must_use]
    pub fn with_priority(&self, priority: u8) -> Self {
        Self { outlet: self.outlet.with_priority(priority), ..self.clone() }
    }

    /// A pusher into the same end that makes a span of each push, by the conventions of
    /// OpenTelemetry, which whoever does the job goes on from:
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Memory, Publisher, Pusher, Result};
    /// use polywire_core::middleware::Trace;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await?.with_trace(&Trace::pusher("thumbnails"));
    /// # let _ = pusher;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_trace(&self, trace: &Trace) -> Self {
        Self { outlet: self.outlet.with_trace(trace), ..self.clone() }
    }

    /// A pusher into the same end of jobs that are [nested](crate::Router::nest) under `word`: what
    /// it [pushes](Self::push_call) as `resize` is `pictures.resize` if `word` is `pictures`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `word` is not an address.
    pub fn nested(&self, word: impl TryInto<Address, Error: Into<Error>>) -> Result<Self> {
        let word = word.try_into().map_err(Into::into)?;
        Ok(Self { prefix: Some(self.full_name(word)?), ..self.clone() })
    }

    /// Pushes a job, and waits until it is handed over in the strongest sense that the backend has:
    /// a broker's confirm, a place in a worker's queue.
    ///
    /// Dropped before it resolves, the job may have been pushed or not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if it cannot be encoded, [`ErrorKind::Unroutable`] if nobody is there
    /// to take it and the backend cannot hold it, [`ErrorKind::DeadlineExceeded`] if there was
    /// no room within the time that it may take, or what the transport says.
    pub async fn push<J: Serialize + ?Sized>(&self, job: &J) -> Result<()> {
        self.push_with(job, Headers::new()).await
    }

    /// Pushes a job with headers; see [`push`](Self::push).
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub async fn push_with<J: Serialize + ?Sized>(&self, job: &J, headers: Headers) -> Result<()> {
        self.send_within(job, Message { headers, ..Message::default() }).await
    }

    /// Pushes a job that is a call of `method`, for a worker that [serves](crate::Worker::serve) a
    /// [`Router`](crate::Router); otherwise as [`push`](Self::push).
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), or [`ErrorKind::Config`] if `method` is not an address.
    pub async fn push_call<J: Serialize + ?Sized>(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
        args: &J,
    ) -> Result<()> {
        let method = self.full_name(method.try_into().map_err(Into::into)?)?;
        self.send_within(args, Message { method: Some(method), ..Message::default() }).await
    }

    async fn send_within<J: Serialize + ?Sized>(
        &self,
        job: &J,
        mut message: Message,
    ) -> Result<()> {
        message.priority = self.outlet.priority()?;
        self.dialect.encode_call(job, &mut message).map_err(Error::unsent)?;
        self.outlet.send(message).await
    }

    fn full_name(&self, method: Address) -> Result<Address> {
        match &self.prefix {
            Some(prefix) => prefix.join(&method),
            None => Ok(method),
        }
    }
}

impl<D> fmt::Debug for Pusher<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").field("timeout", &self.outlet.timeout).finish_non_exhaustive()
    }
}

/// A pusher about to connect; made by [`Pusher::connect`]. Await it.
#[must_use = "a pusher does not connect unless it is awaited"]
pub struct PusherConnect<'t, T, D> {
    transport: &'t T,
    queue: Result<Address>,
    dialect: D,
    timeout: Duration,
    durable: bool,
}

impl<T, D> PusherConnect<'_, T, D> {
    /// How long a push may take. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Insists that jobs survive the death of every process of ours. A backend that cannot keep
    /// them says [`ErrorKind::Unsupported`].
    pub fn durable(self) -> Self {
        Self { durable: true, ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for PusherConnect<'t, T, D> {
    type Output = Result<Pusher<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, queue, dialect, timeout, durable } = self;
        Box::pin(async move {
            if durable && !transport.capabilities().durable {
                return Err(Error::unsupported("durable"));
            }
            let sender = transport.pusher(&queue?).await?;
            Ok(Pusher {
                outlet: OneWaySender::new(transport, sender, timeout),
                dialect,
                prefix: None,
            })
        })
    }
}

impl<T, D> fmt::Debug for PusherConnect<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PusherConnect").field("queue", &self.queue).finish_non_exhaustive()
    }
}
