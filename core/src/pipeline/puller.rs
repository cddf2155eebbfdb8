//! Puller: a stream of jobs.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;
use tokio::task::coop::consume_budget;

use super::job::{DecodeFn, Job, decode_fn};
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::Address;
use crate::transport::{Capabilities, Receiver, Transport, Window, WireKind, log_received};
use crate::worker::poll_unexpired;

/// Stream of jobs from a queue, for programs that drive the work themselves. A
/// [`Worker`](crate::Worker) runs a handler instead.
///
/// A puller holds at most a [`Window`] of unsettled jobs; further jobs wait where other pullers can
/// receive them. Where the transport supports settlement, a job that is dropped unsettled is
/// requeued.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Puller, Pusher, Result};
/// # async fn render(_: &str) -> Result<()> { Ok(()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// # Pusher::connect(&transport, "thumbnails", MessagePack).await?.push("cat.jpg").await?;
/// let mut jobs: Puller<String> = Puller::bind(&transport, "thumbnails", MessagePack).await?;
/// while let Some(job) = jobs.next().await {
///     let job = job?;
///     render(&job).await?; // an early return drops the job, which requeues it
///     job.ack();
/// #   break;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Puller<T> {
    receiver: Receiver,
    decode: DecodeFn<T>,
    capabilities: Capabilities,
}

impl<T: DeserializeOwned> Puller<T> {
    /// Binds to `queue` on `transport`. Set options on the returned value, then await it.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if `queue` is not an address.
    /// - [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport does not
    ///   support the pipeline pattern.
    /// - Any error of the transport.
    pub fn bind<'t, C: Transport>(
        transport: &'t C,
        queue: impl TryInto<Address, Error: Into<Error>>,
        dialect: impl Dialect,
    ) -> PullerBind<'t, C, T> {
        let queue = queue.try_into().map_err(Into::into);
        PullerBind { transport, queue, decode: decode_fn(dialect), window: Window::default() }
    }
}

impl<T> Puller<T> {
    /// Waits for the next job; `None` after the transport is closed.
    ///
    /// If the future is dropped, no job is lost.
    ///
    /// # Errors
    ///
    /// The stream continues after each error that is not [fatal](Error::is_fatal).
    ///
    /// - [`ErrorKind::Codec`](crate::ErrorKind::Codec) if a job cannot be decoded. The job goes to
    ///   the [`DeadLetters`](crate::DeadLetters) where the transport supports them; otherwise it is
    ///   discarded.
    /// - [`ErrorKind::Denied`](crate::ErrorKind::Denied), fatal, if the broker refuses for good.
    /// - Any error of the transport.
    pub async fn next(&mut self) -> Option<Result<Job<T>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Stops receiving. The transport requeues the jobs that it has fetched and not yielded.
    /// Without settlement, the stream yields these jobs and then ends.
    pub fn stop(&mut self) {
        self.receiver.stop();
    }
}

impl<T> Stream for Puller<T> {
    type Item = Result<Job<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let Self { receiver, decode, capabilities } = &mut *self;
        let next = std::task::ready!(poll_unexpired(receiver, capabilities, cx));
        Poll::Ready(next.map(|delivery| Job::decode(delivery?, decode, *capabilities)))
    }
}

impl<T> fmt::Debug for Puller<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Puller")
    }
}

/// Builder of a [`Puller`], returned by [`Puller::bind`]. Await it to bind.
///
/// If the future is dropped, the puller is not opened.
#[must_use = "a puller does not bind unless it is awaited"]
pub struct PullerBind<'t, C, T> {
    transport: &'t C,
    queue: Result<Address>,
    decode: DecodeFn<T>,
    window: Window,
}

impl<C, T> PullerBind<'_, C, T> {
    /// Sets the maximum number of unsettled jobs. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }
}

impl<'t, C: Transport, T: 'static> IntoFuture for PullerBind<'t, C, T> {
    type Output = Result<Puller<T>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, queue, decode, window } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let queue = queue?;
            let receiver = transport.puller(&queue, window).await?;
            let receiver = log_received(receiver, WireKind::Job, &queue);
            Ok(Puller { receiver, decode, capabilities: transport.capabilities() })
        })
    }
}

impl<C, T> fmt::Debug for PullerBind<'_, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullerBind").field("queue", &self.queue).finish_non_exhaustive()
    }
}
