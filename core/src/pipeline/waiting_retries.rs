//! The number of jobs, events and one-way calls that wait for their retries.

use std::fmt;

use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::message::Address;
use crate::transport::{DEFAULT_TIMEOUT, DeadLetterSource, Transport};

/// Deliveries of a job queue, a service, or a group of subscribers that wait for their retries.
///
/// A delivery waits from the failure of an attempt until its pause has passed. It is neither in the
/// window of a handle nor ready in its queue, so no other count includes it.
///
/// ```
/// # use std::time::Duration;
/// # use polywire_codec::MessagePack;
/// # use polywire_core::pipeline::WaitingRetries;
/// # use polywire_core::{Memory, Puller, Pusher, Result};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// # Pusher::connect(&transport, "thumbnails", MessagePack).await?.push("cat.jpg").await?;
/// let mut jobs: Puller<String> = Puller::bind(&transport, "thumbnails", MessagePack).await?;
/// let job = jobs.next().await.unwrap()?;
/// job.retry_after(Duration::from_secs(60), "the disk is full").unwrap();
/// let waiting = WaitingRetries::of_queue(&transport, "thumbnails")?;
/// assert_eq!(waiting.count().await?, 1);
/// # Ok(())
/// # }
/// ```
pub struct WaitingRetries<'t, T> {
    transport: &'t T,
    source: DeadLetterSource,
}

impl<'t, T: Transport> WaitingRetries<'t, T> {
    /// Returns the waiting jobs of a queue.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `queue` is not an address.
    pub fn of_queue(
        transport: &'t T,
        queue: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Self> {
        let queue = queue.try_into().map_err(Into::into)?;
        Ok(Self::of(transport, DeadLetterSource::Queue(queue)))
    }

    /// Returns the waiting deliveries of `source`: the queue, service or group in which their
    /// attempts failed.
    #[must_use]
    pub fn of(transport: &'t T, source: DeadLetterSource) -> Self {
        Self { transport, source }
    }

    /// Returns the queue, service or group of the deliveries.
    #[must_use]
    pub fn source(&self) -> &DeadLetterSource {
        &self.source
    }

    /// Returns the number of deliveries that wait, without reading them: zero for a source that was
    /// never used.
    ///
    /// Over RabbitMQ, the number for a service includes declined calls that pause before the next
    /// server gets them, for about a second at most.
    ///
    /// Memory counts those of its whole namespace. Over RabbitMQ, the broker counts the messages in
    /// the retry queues that this transport has used since it connected, whichever process has sent
    /// the messages there. There is one such queue for each rounded pause, so a process does not
    /// know of a pause that only other processes have used. That costs a channel and one round trip
    /// for each of these queues; nothing if there is none. If the future is dropped, nothing has
    /// changed.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Unsupported`] if the backend has no delayed retries, as ZeroMQ, or cannot
    ///   count.
    /// - [`ErrorKind::DeadlineExceeded`] after 30 seconds. Over RabbitMQ the connect timeout comes
    ///   first, 10 seconds by default, and the error is [`ErrorKind::Disconnected`].
    /// - Any error of the transport.
    pub async fn count(&self) -> Result<u64> {
        let counting = self.transport.waiting_retries(&self.source);
        timeout(DEFAULT_TIMEOUT, counting).await.unwrap_or_else(|_| {
            let text = "cannot count the waiting retries: timed out";
            let error = Error::new(ErrorKind::DeadlineExceeded, text);
            Err(error.with("seconds", DEFAULT_TIMEOUT.as_secs()))
        })
    }
}

impl<T> fmt::Debug for WaitingRetries<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingRetries").field("source", &self.source).finish_non_exhaustive()
    }
}
