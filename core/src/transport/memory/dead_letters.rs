//! Dead-letter queue of the in-memory transport.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::dead_letter_store::DeadLetterStore;
use super::queue::Queue;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::transport::DeadLetterQueue;

/// Open dead-letter queue: the store, and the dead letters that were taken from it.
pub(super) struct DeadLetterSession {
    store: Arc<DeadLetterStore>,
    /// Queue for redriven dead letters; `None` if the group no longer exists.
    source: Option<Arc<Queue>>,
    /// Dead letters that existed at the opening, and those of them that were not taken yet.
    found: usize,
    remaining: usize,
    last_tag: u64,
    /// Taken dead letters by their tags.
    taken: BTreeMap<u64, Message>,
}

impl DeadLetterSession {
    pub(super) fn new(store: Arc<DeadLetterStore>, source: Option<Arc<Queue>>) -> Self {
        let found = store.len();
        Self { store, source, found, remaining: found, last_tag: 0, taken: BTreeMap::new() }
    }

    fn next(&mut self) -> Option<(u64, Message)> {
        self.remaining = self.remaining.checked_sub(1)?;
        let message = self.store.take()?;
        self.last_tag += 1;
        self.taken.insert(self.last_tag, message.clone());
        Some((self.last_tag, message))
    }

    /// Pushes a copy to the source.
    async fn push_copy(&self, tag: u64) -> Result<()> {
        let gone = || {
            let text = "cannot redrive the dead letter: its group no longer exists";
            Error::new(ErrorKind::Unroutable, text).unsent()
        };
        let source = self.source.as_ref().ok_or_else(gone)?;
        let Some(mut message) = self.taken.get(&tag).cloned() else { return Ok(()) };
        message.history.get_or_insert_default().redriven();
        // The client of a dead-lettered request no longer waits for the reply.
        message.message_id = message.id_for_receiver();
        (message.reply_to, message.deadline, message.id) = (None, None, None);
        source.push(Box::new(message)).await
    }

    /// Returns the taken dead letters to the store.
    fn put_back(&mut self) {
        self.store.put_back(std::mem::take(&mut self.taken).into_values());
    }
}

#[async_trait]
impl DeadLetterQueue for DeadLetterSession {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        Ok(self.next())
    }

    async fn count(&mut self) -> Result<u64> {
        Ok(self.found as u64)
    }

    async fn redrive(&mut self, tag: u64) -> Result<()> {
        self.push_copy(tag).await?;
        self.taken.remove(&tag);
        Ok(())
    }

    async fn discard(&mut self, tag: u64) -> Result<()> {
        self.taken.remove(&tag);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.put_back();
        Ok(())
    }
}

impl Drop for DeadLetterSession {
    fn drop(&mut self) {
        self.put_back();
    }
}
