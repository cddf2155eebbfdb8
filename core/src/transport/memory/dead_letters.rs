//! The dead letters of a world.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::lock;
use super::queue::Queue;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::transport::DeadLetterQueue;

/// The dead letters of one origin, oldest first.
#[derive(Default)]
pub(super) struct DeadLetterStore(Mutex<VecDeque<Message>>);

/// There is no disk to put more of them on.
const CAPACITY: usize = 1024;

impl DeadLetterStore {
    pub(super) fn dead_letter(&self, message: Message) {
        let mut letters = lock(&self.0);
        if letters.len() >= CAPACITY {
            tracing::error!("there is no room for another dead letter; the oldest one is gone");
            letters.pop_front();
        }
        letters.push_back(message);
    }
}

/// Somebody who looks after the dead letters of an origin.
pub(super) struct DeadLetterSession {
    graves: Arc<DeadLetterStore>,
    /// Where they died; `None` if it is no more.
    origin: Option<Arc<Queue>>,
    left: usize,
    last: u64,
    taken: BTreeMap<u64, Message>,
}

impl DeadLetterSession {
    pub(super) fn new(graves: Arc<DeadLetterStore>, origin: Option<Arc<Queue>>) -> Self {
        let left = lock(&graves.0).len();
        Self { graves, origin, left, last: 0, taken: BTreeMap::new() }
    }

    fn next(&mut self) -> Option<(u64, Message)> {
        self.left = self.left.checked_sub(1)?;
        let message = lock(&self.graves.0).pop_front()?;
        self.last += 1;
        self.taken.insert(self.last, message.clone());
        Some((self.last, message))
    }

    async fn revive(&self, letter: u64) -> Result<()> {
        let gone = || Error::new(ErrorKind::Unroutable, "what it died in is no more").unsent();
        let origin = self.origin.as_ref().ok_or_else(gone)?;
        let Some(mut message) = self.taken.get(&letter).cloned() else { return Ok(()) };
        message.history.get_or_insert_default().redriven();
        // Whoever waited for it does so no more.
        (message.reply_to, message.deadline, message.id) = (None, None, None);
        origin.push(message).await
    }
}

#[async_trait]
impl DeadLetterQueue for DeadLetterSession {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        Ok(self.next())
    }

    async fn redrive(&mut self, tag: u64) -> Result<()> {
        self.revive(tag).await?;
        self.taken.remove(&tag);
        Ok(())
    }

    async fn discard(&mut self, tag: u64) -> Result<()> {
        self.taken.remove(&tag);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.give_back();
        Ok(())
    }
}

impl Drop for DeadLetterSession {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl DeadLetterSession {
    fn give_back(&mut self) {
        let mut letters = lock(&self.graves.0);
        for (_, message) in std::mem::take(&mut self.taken).into_iter().rev() {
            letters.push_front(message);
        }
    }
}
