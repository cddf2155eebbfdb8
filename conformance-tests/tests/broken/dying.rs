//! Flaws of what is done about work that fails.

use std::sync::{Arc, Mutex};

use polywire_core::transport::{
    DeadLetterQueue, Delivery, Outcome, Receipt, Receiver, Sender, Settle, async_trait,
};
use polywire_core::{Message, Result};

use crate::backend::Flaw;
use crate::ends::received;

/// What each outcome of a pulling end is taken for.
fn settled(receiver: Receiver, alter: fn(Outcome) -> Outcome) -> Receiver {
    received(receiver, move |item| {
        item.map(|mut delivery: Delivery| {
            let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
            delivery.receipt = Receipt::new(Arc::new(Alters(Mutex::new(Some(receipt)), alter)), 0);
            delivery
        })
    })
}

struct Alters(Mutex<Option<Receipt>>, fn(Outcome) -> Outcome);

impl Settle for Alters {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.0.lock().unwrap().take().unwrap().settle((self.1)(outcome));
    }
}

/// What is to wait comes again at once.
#[derive(Clone)]
pub(crate) struct Hasty;

impl Flaw for Hasty {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, |outcome| match outcome {
            Outcome::Retry(_) => Outcome::Requeue,
            outcome => outcome,
        })
    }
}

/// What the attempts said is not kept.
#[derive(Clone)]
pub(crate) struct ForgetsStories;

impl Flaw for ForgetsStories {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, |mut outcome| {
            match &mut outcome {
                Outcome::Retry(retry) => retry.error = "".into(),
                Outcome::DeadLetter(burial) => burial.error = "".into(),
                _ => {}
            }
            outcome
        })
    }
}

/// What is dead is gone.
#[derive(Clone)]
pub(crate) struct ThrowsAway;

impl Flaw for ThrowsAway {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, |outcome| match outcome {
            Outcome::DeadLetter(_) => Outcome::Discard,
            outcome => outcome,
        })
    }
}

/// What is redriven is gone.
#[derive(Clone)]
pub(crate) struct LosesRedriven;

impl Flaw for LosesRedriven {
    fn keeping(&self, inner: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        Box::new(Robbed { inner, taken: Vec::new(), is_robbed_when_closed: false })
    }
}

/// What was looked at is gone.
#[derive(Clone)]
pub(crate) struct LooksAway;

impl Flaw for LooksAway {
    fn keeping(&self, inner: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        Box::new(Robbed { inner, taken: Vec::new(), is_robbed_when_closed: true })
    }
}

struct Robbed {
    inner: Box<dyn DeadLetterQueue>,
    taken: Vec<u64>,
    is_robbed_when_closed: bool,
}

#[async_trait]
impl DeadLetterQueue for Robbed {
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
        if self.is_robbed_when_closed {
            for tag in self.taken.drain(..) {
                self.inner.discard(tag).await?;
            }
        }
        self.inner.close().await
    }
}

/// What is redriven is published to everybody.
#[derive(Clone, Default)]
pub(crate) struct Shouts(Arc<Mutex<Option<Sender>>>);

impl Flaw for Shouts {
    fn pushing(&self, sender: Sender) -> Sender {
        *self.0.lock().unwrap() = Some(sender.clone());
        sender
    }

    fn keeping(&self, inner: Box<dyn DeadLetterQueue>) -> Box<dyn DeadLetterQueue> {
        Box::new(Shouting { inner, sender: self.0.lock().unwrap().clone(), taken: Vec::new() })
    }
}

struct Shouting {
    inner: Box<dyn DeadLetterQueue>,
    sender: Option<Sender>,
    taken: Vec<Message>,
}

#[async_trait]
impl DeadLetterQueue for Shouting {
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
