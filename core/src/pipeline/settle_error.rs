//! Error of a job that could not be settled as requested.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// Error of a [`Job`](crate::Job) or an [`Event`](crate::Event) that the transport cannot requeue,
/// retry or dead-letter. It contains the job or event, to be settled otherwise.
///
/// A dropped value drops the unsettled job: the transport requeues it where it supports settlement;
/// otherwise the job is lost. The operator `?` converts the value to an [`Error`].
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
///     eprintln!("cannot delay the job ({unsettled}); it is requeued at once");
///     unsettled.into_inner().requeue()?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct SettleError<J>(Box<(Error, J)>);

impl<J> SettleError<J> {
    pub(crate) fn new(error: Error, job: J) -> Self {
        Self(Box::new((error, job)))
    }

    pub(crate) fn map<K>(self, change: impl FnOnce(J) -> K) -> SettleError<K> {
        let (error, job) = *self.0;
        SettleError::new(error, change(job))
    }

    /// Returns the error, of the kind [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    /// The detail `capability` names the missing capability.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.0.0
    }

    /// Returns the job or the event.
    #[must_use]
    pub fn into_inner(self) -> J {
        self.0.1
    }
}

impl<J> fmt::Display for SettleError<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<J> fmt::Debug for SettleError<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SettleError").field(self.error()).finish()
    }
}

impl<J> StdError for SettleError<J> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error().source()
    }
}

impl<J> From<SettleError<J>> for Error {
    fn from(unsettled: SettleError<J>) -> Self {
        unsettled.0.0
    }
}
