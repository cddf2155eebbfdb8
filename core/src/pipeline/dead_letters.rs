//! Management of dead letters.

use std::fmt;

use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::DeadLetter;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Address;
use crate::transport::{DEFAULT_TIMEOUT, DeadLetterQueue, DeadLetterSource, Transport};

/// Dead letters of a job queue, a service, or a group of subscribers.
///
/// Each method handles the dead letters that exist when it is called, oldest first. Dead letters
/// that it does not choose stay in the dead-letter queue, unchanged. Concurrent calls divide the
/// dead letters between them.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{DeadLetters, Memory, Puller, Pusher, Result};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// # Pusher::connect(&transport, "thumbnails", MessagePack).await?.push("cat.jpg").await?;
/// # let mut jobs: Puller<String> = Puller::bind(&transport, "thumbnails", MessagePack).await?;
/// # jobs.next().await.unwrap()?.dead_letter("no such picture").unwrap();
/// let dead = DeadLetters::of_queue(&transport, "thumbnails")?;
/// for dead_letter in dead.look(100).await? {
///     let job: String = dead_letter.read(&MessagePack)?;
///     println!("{job}: {} after {} attempts", dead_letter.reason(), dead_letter.attempts());
///     println!("last error {:?}", dead_letter.last_error());
/// }
/// // The cause is repaired: redrive the jobs that failed because of it.
/// let is_due = |error: Option<&str>| error.is_some_and(|error| error.contains("picture"));
/// let redriven = dead.redrive(1_000, |dead_letter| is_due(dead_letter.last_error())).await?;
/// assert_eq!(redriven, 1);
/// assert_eq!(dead.discard(1_000, |_| true).await?, 0);
/// # Ok(())
/// # }
/// ```
pub struct DeadLetters<'t, T> {
    transport: &'t T,
    source: DeadLetterSource,
}

impl<'t, T: Transport> DeadLetters<'t, T> {
    /// Returns the dead letters of a job queue.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`] if `queue` is not an address.
    /// - [`ErrorKind::Unsupported`] if the transport does not support dead letters.
    pub fn of_queue(
        transport: &'t T,
        queue: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Self> {
        Self::of(transport, DeadLetterSource::Queue(queue.try_into().map_err(Into::into)?))
    }

    /// Returns the dead letters of a service; see
    /// [`ServerBind::deliveries`](crate::rpc::ServerBind::deliveries). A server runs a redriven
    /// request and sends no reply, because the client no longer waits.
    ///
    /// # Errors
    ///
    /// As [`of_queue`](Self::of_queue).
    pub fn of_service(
        transport: &'t T,
        service: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Self> {
        Self::of(transport, DeadLetterSource::Service(service.try_into().map_err(Into::into)?))
    }

    /// Returns the dead letters of a group of subscribers. A redriven event goes to this group
    /// alone.
    ///
    /// # Errors
    ///
    /// As [`of_queue`](Self::of_queue).
    pub fn of_group(
        transport: &'t T,
        channel: impl TryInto<Address, Error: Into<Error>>,
        group: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Self> {
        let (channel, group) =
            (channel.try_into().map_err(Into::into)?, group.try_into().map_err(Into::into)?);
        Self::of(transport, DeadLetterSource::Group { channel, group })
    }

    /// Returns the dead letters of `source`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the transport does not support dead letters.
    pub fn of(transport: &'t T, source: DeadLetterSource) -> Result<Self> {
        if transport.capabilities().dead_letters {
            return Ok(Self { transport, source });
        }
        Err(Error::lacking("DeadLetters", "dead_letters"))
    }

    /// Returns the source of the dead letters.
    #[must_use]
    pub fn source(&self) -> &DeadLetterSource {
        &self.source
    }

    /// Returns the oldest `most` dead letters and leaves them in the dead-letter queue.
    ///
    /// If the future is dropped, the dead letters stay in the queue.
    ///
    /// # Errors
    ///
    /// As [`redrive`](Self::redrive).
    pub async fn look(&self, most: usize) -> Result<Vec<DeadLetter>> {
        let mut queue = self.open().await?;
        let mut dead_letters = Vec::new();
        while dead_letters.len() < most {
            let Some((_, message)) = in_time(queue.take()).await? else { break };
            dead_letters.push(DeadLetter::new(message));
        }
        in_time(queue.close()).await?;
        Ok(dead_letters)
    }

    /// Returns the number of dead letters, without reading them.
    ///
    /// Over RabbitMQ the broker counts the messages that are ready, which costs five round trips.
    /// The dead letters that another session holds are not among them. If the future is dropped,
    /// nothing has changed.
    ///
    /// # Errors
    ///
    /// As [`redrive`](Self::redrive); [`ErrorKind::Unsupported`] if the backend cannot count.
    pub async fn count(&self) -> Result<u64> {
        let mut queue = self.open().await?;
        let count = in_time(queue.count()).await?;
        in_time(queue.close()).await?;
        Ok(count)
    }

    /// Redrives the dead letters that `chosen` accepts among the oldest `most`: moves them back to
    /// their source, where they count as new. Returns the number of redriven dead letters.
    ///
    /// A dead letter is removed only after its source has it. A failure in between leaves it in
    /// both places and never loses it. The other dead letters are held until the method
    /// returns.
    ///
    /// If the future is dropped, it stops between two dead letters, or leaves one in both places.
    ///
    /// # Errors
    ///
    /// The detail `redriven` of an error is the number of dead letters that were redriven before.
    ///
    /// - [`ErrorKind::Config`] if neither the source nor a dead letter of it was ever there, since
    ///   its name may be misspelt.
    /// - [`ErrorKind::DeadlineExceeded`] if one step takes longer than 30 seconds, for instance
    ///   because the source is full.
    /// - Any error of the transport.
    pub async fn redrive(
        &self,
        most: usize,
        mut chosen: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<u64> {
        let (mut queue, mut redriven) = (self.open().await?, 0);
        for _ in 0..most {
            let so_far = |error: Error| error.with("redriven", redriven);
            let Some((tag, message)) = in_time(queue.take()).await.map_err(so_far)? else { break };
            if chosen(&DeadLetter::new(message)) {
                in_time(queue.redrive(tag)).await.map_err(so_far)?;
                redriven += 1;
            }
        }
        in_time(queue.close()).await?;
        Ok(redriven)
    }

    /// Deletes the dead letters that `chosen` accepts among the oldest `most`. Returns the number
    /// of deleted dead letters.
    ///
    /// If the future is dropped, it stops between two dead letters.
    ///
    /// # Errors
    ///
    /// As [`redrive`](Self::redrive); the detail is `discarded`.
    pub async fn discard(
        &self,
        most: usize,
        mut chosen: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<u64> {
        let (mut queue, mut discarded) = (self.open().await?, 0);
        for _ in 0..most {
            let so_far = |error: Error| error.with("discarded", discarded);
            let Some((tag, message)) = in_time(queue.take()).await.map_err(so_far)? else { break };
            if chosen(&DeadLetter::new(message)) {
                in_time(queue.discard(tag)).await.map_err(so_far)?;
                discarded += 1;
            }
        }
        in_time(queue.close()).await?;
        Ok(discarded)
    }

    async fn open(&self) -> Result<Box<dyn DeadLetterQueue>> {
        consume_budget().await;
        self.transport.dead_letters(&self.source).await
    }
}

/// Bounds one step by 30 seconds, since a redrive may wait for room at the source.
async fn in_time<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    consume_budget().await;
    timeout(DEFAULT_TIMEOUT, step).await.unwrap_or_else(|_| {
        let error =
            Error::new(ErrorKind::DeadlineExceeded, "cannot process the dead letter: timed out");
        Err(error.with("seconds", DEFAULT_TIMEOUT.as_secs()))
    })
}

impl<T> fmt::Debug for DeadLetters<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("source", &self.source).finish_non_exhaustive()
    }
}
