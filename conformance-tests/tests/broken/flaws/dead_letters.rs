//! Flaws of delayed retries and of dead letters.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use polywire_core::transport::{DeadLetterQueue, Outcome, Receiver, Sender, async_trait};
use polywire_core::{Error, Message, Result};

use crate::flaw::Flaw;
use crate::halves::settled;

/// Redelivers a job at once instead of after its pause.
#[derive(Clone)]
pub(crate) struct IgnoresPauses;

impl Flaw for IgnoresPauses {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, |outcome| match outcome {
            Outcome::Retry(_) => Outcome::Requeue,
            outcome => outcome,
        })
    }
}

/// Drops the errors of the attempts.
#[derive(Clone)]
pub(crate) struct ForgetsErrors;

impl Flaw for ForgetsErrors {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, |mut outcome| {
            match &mut outcome {
                Outcome::Retry(retry) => retry.error = "".into(),
                Outcome::DeadLetter(info) => info.error = "".into(),
                _ => {}
            }
            outcome
        })
    }
}

/// Discards a job instead of dead-lettering it.
#[derive(Clone)]
pub(crate) struct DiscardsDeadLetters;

impl Flaw for DiscardsDeadLetters {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, |outcome| match outcome {
            Outcome::DeadLetter(_) => Outcome::Discard,
            outcome => outcome,
        })
    }
}

/// Requeues the first job that is dead-lettered.
#[derive(Clone, Default)]
pub(crate) struct RetriesDeadLetters(Arc<AtomicBool>);

impl Flaw for RetriesDeadLetters {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        let has_retried = self.0.clone();
        settled(receiver, move |outcome| match outcome {
            Outcome::DeadLetter(_) if !has_retried.swap(true, Ordering::Relaxed) => {
                Outcome::Requeue
            }
            outcome => outcome,
        })
    }
}

/// Discards a dead letter instead of redriving it.
#[derive(Clone)]
pub(crate) struct LosesRedriven;

impl Flaw for LosesRedriven {
    fn dead_letters(&self, inner: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        Box::new(Losing { inner, taken: Vec::new(), loses_on_close: false })
    }
}

/// Discards the dead letters that were read, when the session closes.
#[derive(Clone)]
pub(crate) struct LosesRead;

impl Flaw for LosesRead {
    fn dead_letters(&self, inner: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        Box::new(Losing { inner, taken: Vec::new(), loses_on_close: true })
    }
}

struct Losing {
    inner: Box<dyn DeadLetterQueue>,
    taken: Vec<u64>,
    loses_on_close: bool,
}

#[async_trait]
impl DeadLetterQueue for Losing {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        let next = self.inner.take().await?;
        self.taken.extend(next.as_ref().map(|(tag, _)| *tag));
        Ok(next)
    }

    async fn redrive(&mut self, tag: u64) -> Result<()> {
        self.inner.discard(tag).await
    }

    async fn discard(&mut self, tag: u64) -> Result<()> {
        self.inner.discard(tag).await
    }

    async fn close(&mut self) -> Result<()> {
        if self.loses_on_close {
            for tag in self.taken.drain(..) {
                self.inner.discard(tag).await?;
            }
        }
        self.inner.close().await
    }
}

/// Publishes a redriven event to every subscriber.
#[derive(Clone, Default)]
pub(crate) struct RedrivesToAll(Arc<Mutex<Option<Sender>>>);

impl Flaw for RedrivesToAll {
    fn pushing(&self, sender: Sender) -> Sender {
        *self.0.lock().unwrap() = Some(sender.clone());
        sender
    }

    fn dead_letters(&self, inner: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        Box::new(Republishing { inner, sender: self.0.lock().unwrap().clone(), taken: Vec::new() })
    }
}

struct Republishing {
    inner: Box<dyn DeadLetterQueue>,
    sender: Option<Sender>,
    taken: Vec<Message>,
}

#[async_trait]
impl DeadLetterQueue for Republishing {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        let next = self.inner.take().await?;
        self.taken.extend(next.as_ref().map(|(_, message)| message.clone()));
        Ok(next)
    }

    async fn redrive(&mut self, tag: u64) -> Result<()> {
        if let (Some(sender), Some(mut message)) = (&self.sender, self.taken.pop()) {
            message.history.get_or_insert_default().redriven();
            sender.send(message).await?;
        }
        self.inner.discard(tag).await
    }

    async fn discard(&mut self, tag: u64) -> Result<()> {
        self.inner.discard(tag).await
    }

    async fn close(&mut self) -> Result<()> {
        self.inner.close().await
    }
}

/// Shows a source that does not exist as one without dead letters.
#[derive(Clone)]
pub(crate) struct ShowsNoneOfUnknown;

impl Flaw for ShowsNoneOfUnknown {
    fn no_dead_letters(&self, _: Error) -> Result<Box<dyn DeadLetterQueue>> {
        Ok(Box::new(Empty))
    }
}

struct Empty;

#[async_trait]
impl DeadLetterQueue for Empty {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        Ok(None)
    }

    async fn redrive(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn discard(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
