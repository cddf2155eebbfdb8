//! A job that could not be settled as was asked.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// Why a [`Job`](crate::Job) or an [`Event`](crate::Event) could not be given back or kept as a
/// dead letter, and the thing itself, to be settled otherwise.
///
/// Nothing has become of it yet: dropped, it goes back to where it came from, where the transport
/// can carry that, and is lost where it cannot. For those who do not want it back, `?` makes it a
/// plain [`Error`].
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Puller, Pusher, Result};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// # Pusher::connect(&transport, "thumbnails", MessagePack).await?.push("cat.jpg").await?;
/// # let mut jobs: Puller<String> = Puller::bind(&transport, "thumbnails", MessagePack).await?;
/// # let job = jobs.next().await.unwrap()?;
/// if let Err(unsettled) = job.retry_after(Duration::from_secs(10), "the disk is full") {
///     eprintln!("it cannot wait ({unsettled}), so it is somebody's turn now");
///     unsettled.into_inner().requeue()?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Unsettled<J>(Box<(Error, J)>);

impl<J> Unsettled<J> {
    pub(crate) fn new(error: Error, job: J) -> Self {
        Self(Box::new((error, job)))
    }

    pub(crate) fn map<K>(self, change: impl FnOnce(J) -> K) -> Unsettled<K> {
        let (error, job) = *self.0;
        Unsettled::new(error, change(job))
    }

    /// Why not: [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), with the capability that
    /// the transport lacks.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.0.0
    }

    /// The job or the event.
    #[must_use]
    pub fn into_inner(self) -> J {
        self.0.1
    }
}

impl<J> fmt::Display for Unsettled<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<J> fmt::Debug for Unsettled<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unsettled").field(self.error()).finish()
    }
}

impl<J> StdError for Unsettled<J> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error().source()
    }
}

impl<J> From<Unsettled<J>> for Error {
    fn from(unsettled: Unsettled<J>) -> Self {
        unsettled.0.0
    }
}
