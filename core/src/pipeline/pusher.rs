//! Pusher: sends jobs to a queue.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use bytestring::ByteString;
use futures_core::future::BoxFuture;
use serde::Serialize;
use tokio::task::coop::consume_budget;

use super::one_way_sender::OneWaySender;
use crate::dialect::Dialect;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::message::{Address, Headers, Message, MessageId};
use crate::middleware::Trace;
use crate::transport::{DEFAULT_TIMEOUT, Transport, WireKind, log_sent};

/// Sender of jobs to a queue, each for exactly one worker.
///
/// While the queue is full, or all workers are busy, [`push`](Self::push) waits. Clones use the
/// same endpoint handle.
///
/// The guarantee for a pushed job depends on the transport. A broker keeps the job until a worker
/// has acknowledged it. Over ZeroMQ the job is in the queue of a peer and is lost with that peer.
/// See [`Capabilities`](crate::Capabilities).
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Puller, Pusher};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire_core::Result<()> {
/// # let transport = Memory::new();
/// let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await?;
/// pusher.push(&("cat.jpg", 128)).await?;
/// # let jobs = Puller::bind(&transport, "thumbnails", MessagePack);
/// # let mut jobs: Puller<(String, u32)> = jobs.await?;
/// # assert_eq!(jobs.next().await.unwrap()?.0, "cat.jpg");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pusher<D> {
    sender: OneWaySender,
    dialect: D,
    /// Prefix of method names.
    prefix: Option<Address>,
}

impl<D: Dialect> Pusher<D> {
    /// Connects to `queue` on `transport`. Set options on the returned value, then await it. The
    /// queue needs no worker yet.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`] if `queue` is not an address.
    /// - [`ErrorKind::Unsupported`] if the transport does not support the pipeline pattern.
    /// - Any error of the transport.
    pub fn connect<'t, T: Transport>(
        transport: &'t T,
        queue: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> PusherConnect<'t, T, D> {
        let queue = queue.try_into().map_err(Into::into);
        PusherConnect { transport, queue, dialect, timeout: DEFAULT_TIMEOUT, durable: false }
    }

    /// Returns a pusher on the same endpoint handle whose jobs have this priority.
    ///
    /// A queue with priorities delivers higher ones first. A job without a priority counts as 0. A
    /// RabbitMQ queue needs the
    /// [option](https://docs.rs/polywire-amqp/latest/polywire_amqp/struct.QueueOptions.html) for
    /// priorities. If the transport does not support priorities, each push fails with
    /// [`ErrorKind::Unsupported`].
    #[must_use]
    pub fn with_priority(&self, priority: u8) -> Self {
        Self { sender: self.sender.with_priority(priority), ..self.clone() }
    }

    /// Returns a pusher on the same endpoint handle whose jobs have this id: a pusher for one job.
    ///
    /// Each handler of the job gets the id as
    /// [`Context::message_id`](crate::Context::message_id): in every attempt, after a redelivery,
    /// and after a redrive. A job that is pushed twice with the same id can so be done once, by a
    /// worker that remembers what it has done. The transport itself does not compare ids. Without
    /// this option, each job gets a new id.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Memory, Puller, Pusher, Result};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let orders = Pusher::connect(&transport, "orders", MessagePack).await?;
    /// orders.with_message_id("order-7")?.push(&("cat.jpg", 128)).await?;
    /// # let jobs = Puller::bind(&transport, "orders", MessagePack);
    /// # let mut jobs: Puller<(String, u32)> = jobs.await?;
    /// let job = jobs.next().await.unwrap()?;
    /// assert_eq!(job.context().message_id().unwrap().as_str(), "order-7");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `id` is no [`MessageId`].
    pub fn with_message_id(&self, id: impl TryInto<MessageId, Error: Into<Error>>) -> Result<Self> {
        let id = id.try_into().map_err(Into::into)?;
        Ok(Self { sender: self.sender.with_message_id(id), ..self.clone() })
    }

    /// Returns a pusher on the same endpoint handle whose jobs have this header, besides those
    /// of other options. A handler reads it from its [`Context`](crate::Context).
    ///
    /// A name with the [reserved prefix](Headers::RESERVED) fails each push with
    /// [`ErrorKind::Config`]; over RabbitMQ so does a name by which the broker routes or records,
    /// such as `CC` or `x-death`. The headers of a trace are those of the [`Trace`] of the handle:
    /// a `traceparent` that is set here becomes the parent of its span.
    #[must_use]
    pub fn with_header(&self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        Self { sender: self.sender.with_header(name, value), ..self.clone() }
    }

    /// Returns a pusher on the same endpoint handle whose jobs must begin within this time, counted
    /// from each push and at most 30 days. The default is no limit.
    ///
    /// A job that has not begun by then expires: no worker runs it, also not again after a failed
    /// attempt. The worker or puller that receives it discards it, and a worker counts it in
    /// [`WorkStats::expired`](crate::worker::WorkStats::expired). RabbitMQ removes it from its
    /// queue before that, unless [`with_keep_expired`](Self::with_keep_expired) is set. The time
    /// does not limit a handler that has begun.
    #[must_use]
    pub fn with_ttl(&self, ttl: Duration) -> Self {
        Self { sender: self.sender.with_ttl(ttl), ..self.clone() }
    }

    /// Returns a pusher on the same endpoint handle whose jobs become
    /// [`DeadLetters`](crate::DeadLetters) of the queue if they [expire](Self::with_ttl), with the
    /// reason [`Expired`](crate::message::DeadLetterReason::Expired).
    ///
    /// The option has no effect without a time to live. If the transport does not support dead
    /// letters, each push fails with [`ErrorKind::Unsupported`].
    #[must_use]
    pub fn with_keep_expired(&self) -> Self {
        Self { sender: self.sender.with_keep_expired(), ..self.clone() }
    }

    /// Returns a pusher on the same endpoint handle whose jobs are not worth a disk: a broker may
    /// lose them in a restart, and takes them at a lower cost. By default RabbitMQ writes messages
    /// to disk.
    ///
    /// A quorum queue of RabbitMQ keeps the jobs in any case. In memory and over ZeroMQ the option
    /// has no effect, since nothing is on a disk there.
    #[must_use]
    pub fn with_transient(&self) -> Self {
        Self { sender: self.sender.with_transient(), ..self.clone() }
    }

    /// Returns a pusher on the same endpoint handle that records a span for each push, by the
    /// conventions of OpenTelemetry. The worker's span continues the trace.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Memory, Publisher, Pusher, Result};
    /// use polywire_core::middleware::Trace;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await?;
    /// let pusher = pusher.with_trace(&Trace::pusher("thumbnails"));
    /// # let _ = pusher;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_trace(&self, trace: &Trace) -> Self {
        Self { sender: self.sender.with_trace(trace), ..self.clone() }
    }

    /// Returns a pusher on the same endpoint handle whose method names start with `word`, for a
    /// [nested](crate::Router::nest) router.
    ///
    /// With the word `pictures`, [`push_call`](Self::push_call) of `resize` calls
    /// `pictures.resize`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `word` is not an address.
    pub fn nested(&self, word: impl TryInto<Address, Error: Into<Error>>) -> Result<Self> {
        let word = word.try_into().map_err(Into::into)?;
        Ok(Self { prefix: Some(self.full_name(word)?), ..self.clone() })
    }

    /// Pushes a job, and waits until it is handed over in the strongest sense that the transport
    /// supports: with a broker's confirm, or in a worker's queue.
    ///
    /// If the future is dropped before it resolves, the job may have been pushed or not.
    ///
    /// Over ZeroMQ, a job that was pushed may still wait in this process. Jobs that have not left
    /// the process when it ends are lost: [close](crate::Transport::close) the transport before,
    /// which sends them.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Codec`] if the job cannot be encoded.
    /// - [`ErrorKind::Unroutable`] if no worker is available and the transport cannot hold the job.
    /// - [`ErrorKind::DeadlineExceeded`] if the push takes longer than its
    ///   [timeout](PusherConnect::timeout).
    /// - Any error of the transport.
    pub async fn push<J: Serialize + ?Sized>(&self, job: &J) -> Result<()> {
        self.push_with(job, Headers::new()).await
    }

    /// Pushes a job with headers; see [`push`](Self::push).
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub async fn push_with<J: Serialize + ?Sized>(&self, job: &J, headers: Headers) -> Result<()> {
        self.send(job, Ok(Message::default().with_headers(headers))).await
    }

    /// Pushes a job for one method of a [`Router`](crate::Router) that a worker
    /// [serves](crate::Worker::serve); otherwise as [`push`](Self::push).
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), or [`ErrorKind::Config`] if `method` is not an address.
    pub async fn push_call<J: Serialize + ?Sized>(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
        args: &J,
    ) -> Result<()> {
        let method: Result<Address> = method.try_into().map_err(Into::into);
        let method = method.and_then(|method| self.full_name(method));
        self.send(args, method.map(|method| Message::default().with_method(method))).await
    }

    async fn send<J: Serialize + ?Sized>(&self, job: &J, message: Result<Message>) -> Result<()> {
        self.sender.send(message.and_then(|message| self.encode(job, message))).await
    }

    /// Writes the job and the options of the handle into a message.
    fn encode<J: Serialize + ?Sized>(&self, job: &J, mut message: Message) -> Result<Message> {
        self.sender.apply_options(&mut message)?;
        self.dialect.encode_call(job, &mut message).map_err(Error::unsent)?;
        Ok(message)
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
        f.debug_struct("Pusher").field("timeout", &self.sender.timeout).finish_non_exhaustive()
    }
}

/// Builder of a [`Pusher`], returned by [`Pusher::connect`]. Await it to connect.
///
/// If the future is dropped, the pusher is not opened.
#[must_use = "a pusher does not connect unless it is awaited"]
pub struct PusherConnect<'t, T, D> {
    transport: &'t T,
    queue: Result<Address>,
    dialect: D,
    timeout: Duration,
    durable: bool,
}

impl<T, D> PusherConnect<'_, T, D> {
    /// Sets the longest time of a push. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Requires that a pushed job survives the death of every client process. If the transport does
    /// not support that, connecting fails with [`ErrorKind::Unsupported`].
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
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            if durable && !transport.capabilities().durable {
                return Err(Error::lacking("Pusher::durable", "durable"));
            }
            let queue = queue?;
            let sender = transport.pusher(&queue).await?;
            let sender = log_sent(sender, WireKind::Job, &queue);
            Ok(Pusher {
                sender: OneWaySender::new(transport, sender, timeout, PRIORITY),
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

/// The option of a priority, as errors name it.
const PRIORITY: &str = "Pusher::with_priority";
