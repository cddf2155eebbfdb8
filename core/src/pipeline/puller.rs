//! The end that takes jobs, one after the other.

use std::fmt;
use std::future::IntoFuture;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytestring::ByteString;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::Unsettled;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::report;
use crate::error::{Error, Result};
use crate::message::{Address, DeadLetterReason, Message};
use crate::transport::{Capabilities, Outcome, Transport, Window};
use crate::transport::{DeadLetterInfo, Delivery, Receipt, Receiver, RetryAfter};
use crate::worker::Retries;
use crate::worker::dead_letter_or_discard;

/// Takes jobs from a queue: a stream, for programs that drive the work themselves. See
/// [`Worker`](crate::Worker) for those that only want to say what a job does.
///
/// At most a [`Window`] of jobs are taken and not settled; the rest waits where others can take it.
/// A job that is dropped unsettled goes back to the queue, where the transport can carry that.
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
    read: Read<T>,
    can: Capabilities,
}

/// Reads the value out of a message; the dialect is forgotten here, so that no type of the user's
/// carries it.
pub(crate) type Read<T> = Arc<dyn Fn(&Message) -> Result<T> + Send + Sync>;

pub(crate) fn reader<T: DeserializeOwned, D: Dialect>(dialect: D) -> Read<T> {
    Arc::new(move |message| dialect.decode_call(message))
}

impl<T: DeserializeOwned> Puller<T> {
    /// Binds to `queue` on `transport`. Await it, or set options first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `queue` is not an address,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport has no pipeline,
    /// or what it says if it cannot bind.
    pub fn bind<'t, C: Transport>(
        transport: &'t C,
        queue: impl TryInto<Address, Error: Into<Error>>,
        dialect: impl Dialect,
    ) -> PullerBind<'t, C, T> {
        let queue = queue.try_into().map_err(Into::into);
        PullerBind { transport, queue, read: reader(dialect), window: Window::default() }
    }
}

impl<T> Puller<T> {
    /// The next job; `None` when the transport is closed. Nothing is lost if it is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) for a job that cannot be read, and never will
    /// be: it is kept among the [`DeadLetters`](crate::DeadLetters) where the transport has
    /// such, else discarded; or what the transport says. The stream goes on after an error.
    pub async fn next(&mut self) -> Option<Result<Job<T>>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Takes no more jobs. What was not handed out goes back to the queue, where the transport can
    /// carry that; where it cannot, it is still handed out, and then the stream ends.
    pub fn stop(&mut self) {
        self.receiver.stop();
    }
}

impl<T> Stream for Puller<T> {
    type Item = Result<Job<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(Pin::new(&mut self.receiver).poll_next(cx));
        Poll::Ready(next.map(|delivery| Job::read(delivery?, &self.read, self.can)))
    }
}

impl<T> fmt::Debug for Puller<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Puller")
    }
}

/// A job that was taken: the value, and the duty to say what became of it.
///
/// Dropping it means that it should be done again, by somebody: [`requeue`](Self::requeue).
#[must_use = "dropping a job requeues it"]
pub struct Job<T> {
    value: T,
    context: Context,
    receipt: Receipt,
    can: Capabilities,
}

impl<T> Job<T> {
    pub(crate) fn read(delivery: Delivery, read: &Read<T>, can: Capabilities) -> Result<Self> {
        let Delivery { mut message, receipt, attempt } = delivery;
        let unreadable = message.fault.take().map(|fault| {
            Error::new(crate::error::ErrorKind::Codec, "the message cannot be read")
                .with_source(*fault)
        });
        match unreadable.map_or_else(|| read(&message), Err) {
            Ok(value) => Ok(Self { value, context: Context::of(&message, attempt), receipt, can }),
            Err(error) => {
                receipt.settle(dead_letter_or_discard(&can, DeadLetterReason::Unreadable, report(&error)));
                Err(error)
            }
        }
    }

    /// What is known about it: headers, topic, which attempt it is.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Says that it is done.
    pub fn ack(self) {
        self.receipt.ack();
    }

    /// Says that it never will be done, and is to be forgotten.
    pub fn discard(self) {
        self.receipt.discard();
    }

    /// Gives it back, for somebody else to do, or us later.
    ///
    /// # Errors
    ///
    /// [`Unsettled`] if the transport does not settle; then the job is in nobody's hands but ours,
    /// and lost unless it is pushed again: hence it is handed back.
    pub fn requeue(self) -> Result<(), Unsettled<Self>> {
        self.settle(None, Outcome::Requeue)
    }

    /// Gives it back, for somebody to do after a while: not before this long, which is cut at
    /// [`Retries::PAUSE_MAX`]. What is said about it travels with it; see [`Context::history`].
    ///
    /// # Errors
    ///
    /// [`Unsettled`] if the transport cannot make it wait.
    pub fn retry_after(
        self,
        pause: Duration,
        error: impl fmt::Display,
    ) -> Result<(), Unsettled<Self>> {
        let lacking = if self.can.delayed_retries { None } else { Some("delayed_retries") };
        let deferral = RetryAfter::new(pause.min(Retries::PAUSE_MAX), text(error));
        self.settle(lacking, Outcome::Retry(Box::new(deferral)))
    }

    /// Says that it never will be done, and is to be kept among the
    /// [`DeadLetters`](crate::DeadLetters), with what is said about it.
    ///
    /// # Errors
    ///
    /// [`Unsettled`] if the transport keeps no dead letters.
    pub fn dead_letter(self, error: impl fmt::Display) -> Result<(), Unsettled<Self>> {
        let lacking = if self.can.dead_letters { None } else { Some("dead_letters") };
        let burial = DeadLetterInfo::new(DeadLetterReason::Refused, text(error));
        self.settle(lacking, Outcome::DeadLetter(Box::new(burial)))
    }

    fn settle(
        self,
        lacking: Option<&'static str>,
        outcome: Outcome,
    ) -> Result<(), Unsettled<Self>> {
        let lacking = lacking.or(if self.receipt.is_some() { None } else { Some("settlement") });
        if let Some(lacking) = lacking {
            return Err(Unsettled::new(Error::unsupported(lacking), self));
        }
        self.receipt.settle(outcome);
        Ok(())
    }

    /// Its parts, for those who settle it elsewhere.
    pub fn into_parts(self) -> (T, Context, Receipt) {
        (self.value, self.context, self.receipt)
    }
}

fn text(error: impl fmt::Display) -> ByteString {
    error.to_string().into()
}

impl<T> Deref for Job<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("value", &self.value)
            .field("attempt", &self.context.attempt)
            .finish_non_exhaustive()
    }
}

/// A puller about to bind; made by [`Puller::bind`]. Await it.
#[must_use = "a puller does not bind unless it is awaited"]
pub struct PullerBind<'t, C, T> {
    transport: &'t C,
    queue: Result<Address>,
    read: Read<T>,
    window: Window,
}

impl<C, T> PullerBind<'_, C, T> {
    /// How many jobs may be taken and not settled. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }
}

impl<'t, C: Transport, T: 'static> IntoFuture for PullerBind<'t, C, T> {
    type Output = Result<Puller<T>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, queue, read, window } = self;
        Box::pin(async move {
            let (receiver, can) =
                (transport.puller(&queue?, window).await?, transport.capabilities());
            Ok(Puller { receiver, read, can })
        })
    }
}

impl<C, T> fmt::Debug for PullerBind<'_, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullerBind").field("queue", &self.queue).finish_non_exhaustive()
    }
}
