//! What failed for good, and somebody who looks after it.

use std::fmt;
use std::time::SystemTime;

use tokio::time::timeout;

use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Address, DeadLetterReason, DeadLetterRecord, History, Message};
use crate::rpc::DEFAULT_TIMEOUT;
use crate::transport::Transport;
use crate::transport::{DeadLetterQueue, DeadLetterSource};

/// The dead letters of a queue of jobs, of a service, or of a group of subscribers: what failed for
/// good, and waits for somebody to look at it, to send it on its way again, or to forget it.
///
/// Each of its functions deals with what is there when it begins, oldest first, and no more; what
/// it leaves alone is as if nobody had looked. Two who look at the same time share what is there
/// between them.
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
/// for letter in dead.look(100).await? {
///     println!("{:?}: {} after {} attempts", letter.read::<String>(&MessagePack)?, letter.reason(), letter.attempts());
///     println!("it said first {:?}, at last {:?}", letter.first_error(), letter.last_error());
/// }
/// // The disk is mended: try those again that the disk failed.
/// let again = dead.redrive(1_000, |letter| letter.last_error().is_some_and(|error| error.contains("picture"))).await?;
/// assert_eq!(again, 1);
/// assert_eq!(dead.discard(1_000, |_| true).await?, 0);
/// # Ok(())
/// # }
/// ```
pub struct DeadLetters<'t, T> {
    transport: &'t T,
    origin: DeadLetterSource,
}

impl<'t, T: Transport> DeadLetters<'t, T> {
    /// Those of a queue of jobs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `queue` is not an address,
    /// [`ErrorKind::Unsupported`] if the transport keeps no dead letters.
    pub fn of_queue(
        transport: &'t T,
        queue: impl TryInto<Address, Error: Into<Error>>,
    ) -> Result<Self> {
        Self::of(transport, DeadLetterSource::Queue(queue.try_into().map_err(Into::into)?))
    }

    /// Those of a service; see [`ServerBind::deliveries`](crate::rpc::ServerBind::deliveries). What
    /// is redriven is carried out, and answered to nobody, since its caller has given up.
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

    /// Those of a group of subscribers. What is redriven goes to this group alone.
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

    /// Those of this origin.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] if the transport keeps no dead letters.
    pub fn of(transport: &'t T, origin: DeadLetterSource) -> Result<Self> {
        if transport.capabilities().dead_letters {
            return Ok(Self { transport, origin });
        }
        Err(Error::unsupported("dead_letters"))
    }

    /// Whose they are.
    #[must_use]
    pub fn origin(&self) -> &DeadLetterSource {
        &self.origin
    }

    /// The oldest of them, up to this many, and leaves them where they are.
    ///
    /// Dropping the future leaves everything as it is.
    ///
    /// # Errors
    ///
    /// What the transport says.
    pub async fn look(&self, most: usize) -> Result<Vec<DeadLetter>> {
        let mut graveyard = self.open().await?;
        let mut letters = Vec::new();
        while letters.len() < most {
            let Some((_, message)) = in_time(graveyard.take()).await? else { break };
            letters.push(DeadLetter { message });
        }
        in_time(graveyard.close()).await?;
        Ok(letters)
    }

    /// Puts those that `chosen` says back where they died, to be attempted as if for the first
    /// time, with a note that they were redriven; looks at the oldest `most`, and tells how
    /// many were chosen.
    ///
    /// Each is gone from here only when it is there, so none is lost, whatever fails; one may be in
    /// both places then. Those that are not chosen are held until this ends. Dropping the
    /// future stops between two of them, or leaves one in both places.
    ///
    /// # Errors
    ///
    /// What the transport says, or [`ErrorKind::DeadlineExceeded`] if one takes longer than 30
    /// seconds, for instance because there is no room where it died; how many were redriven
    /// before stands in its detail `redriven`.
    pub async fn redrive(
        &self,
        most: usize,
        mut chosen: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<u64> {
        let (mut graveyard, mut redriven) = (self.open().await?, 0);
        for _ in 0..most {
            let so_far = |error: Error| error.with("redriven", redriven);
            let Some((number, message)) = in_time(graveyard.take()).await.map_err(so_far)? else {
                break;
            };
            if chosen(&DeadLetter { message }) {
                in_time(graveyard.redrive(number)).await.map_err(so_far)?;
                redriven += 1;
            }
        }
        in_time(graveyard.close()).await?;
        Ok(redriven)
    }

    /// Forgets those that `chosen` says, for good; otherwise as [`redrive`](Self::redrive).
    ///
    /// # Errors
    ///
    /// What the transport says; how many were discarded before stands in its detail `discarded`.
    pub async fn discard(
        &self,
        most: usize,
        mut chosen: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<u64> {
        let (mut graveyard, mut discarded) = (self.open().await?, 0);
        for _ in 0..most {
            let so_far = |error: Error| error.with("discarded", discarded);
            let Some((number, message)) = in_time(graveyard.take()).await.map_err(so_far)? else {
                break;
            };
            if chosen(&DeadLetter { message }) {
                in_time(graveyard.discard(number)).await.map_err(so_far)?;
                discarded += 1;
            }
        }
        in_time(graveyard.close()).await?;
        Ok(discarded)
    }

    async fn open(&self) -> Result<Box<dyn DeadLetterQueue>> {
        self.transport.dead_letters(&self.origin).await
    }
}

/// Whatever is done about one letter has an end, also if where it died is full.
async fn in_time<T>(doing: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(DEFAULT_TIMEOUT, doing).await.unwrap_or_else(|_| {
        let error =
            Error::new(ErrorKind::DeadlineExceeded, "it took too long to deal with a dead letter");
        Err(error.with("seconds", DEFAULT_TIMEOUT.as_secs()))
    })
}

impl<T> fmt::Debug for DeadLetters<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Something that failed for good, and its story.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    message: Message,
}

impl DeadLetter {
    /// Why it is dead.
    #[must_use]
    pub fn reason(&self) -> DeadLetterReason {
        self.death().map_or(DeadLetterReason::Other, |death| death.reason)
    }

    /// How often it was attempted, since it was sent or was last redriven.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.death().map_or(0, |death| death.attempts)
    }

    /// When it died, by the clock of whoever buried it.
    #[must_use]
    pub fn at(&self) -> Option<SystemTime> {
        self.death().map(|death| death.at)
    }

    /// What the first attempt that said something said.
    #[must_use]
    pub fn first_error(&self) -> Option<&str> {
        self.history()?.first_error.as_deref()
    }

    /// What the last one said.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.history()?.last_error.as_deref()
    }

    /// How often it was redriven before.
    #[must_use]
    pub fn redriven(&self) -> u32 {
        self.history().map_or(0, |history| history.redriven)
    }

    /// The message: its topic or method, its headers, its body.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What it carries.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if it cannot be read, which may be what it died of.
    pub fn read<V: serde::de::DeserializeOwned>(&self, dialect: &impl Dialect) -> Result<V> {
        dialect.decode_call(&self.message)
    }

    fn history(&self) -> Option<&History> {
        self.message.history.as_deref()
    }

    fn death(&self) -> Option<&DeadLetterRecord> {
        self.history()?.death.as_ref()
    }
}
