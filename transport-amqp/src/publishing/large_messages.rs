//! Messages that the broker may find too large.
//!
//! The broker closes the channel of a message over its size limit, with all unconfirmed messages.
//! No client can ask for the limit. So a message that is larger than all confirmed ones is
//! published on a channel of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_core::{Error, Result};
use tokio::sync::{Mutex, MutexGuard};

use super::channel_supervisor::ChannelSupervisor;
use super::publish_queue::PublishQueue;
use super::request::PublishRequest;
use crate::error::lost_unconfirmed;
use crate::wire::OutgoingMessage;

/// The sizes that the broker is known to accept, and a way to try larger ones.
pub(super) struct LargeMessages {
    /// Opens the channels of single messages. `None` with direct replies, since a request has to go
    /// over the channel on which its reply arrives.
    alone: Option<ChannelSupervisor>,
    /// Bytes of the largest body that was confirmed.
    proven: AtomicUsize,
    /// Locked by the message that is published alone: one channel at a time is enough.
    turn: Mutex<()>,
}

impl LargeMessages {
    /// Creates the way for the large messages of a publisher.
    pub(super) fn new(supervisor: &ChannelSupervisor) -> Self {
        let ChannelSupervisor { connection, exchange, verify_user_id, unconfirmed, .. } =
            supervisor;
        let alone = supervisor.direct_replies.is_none().then(|| ChannelSupervisor {
            connection: connection.clone(),
            queue: Arc::new(PublishQueue::new(*unconfirmed)),
            exchange: exchange.clone(),
            direct_replies: None,
            verify_user_id: *verify_user_id,
            unconfirmed: *unconfirmed,
        });
        Self { alone, proven: AtomicUsize::new(ACCEPTED), turn: Mutex::default() }
    }

    /// Returns whether the broker may find the message too large.
    pub(super) fn is_unproven(&self, message: &OutgoingMessage) -> bool {
        message.body.len() > self.proven.load(Ordering::Relaxed) && self.alone.is_some()
    }

    /// Waits for the turn to call [`publish_alone`](Self::publish_alone).
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Publishes a message on a channel of its own, and waits for its outcome.
    ///
    /// # Errors
    ///
    /// Those of opening a channel, unsent, and the outcomes of the message. If the future is
    /// dropped, the message may have been sent.
    pub(super) async fn publish_alone(&self, message: OutgoingMessage) -> Result<()> {
        let Some(alone) = &self.alone else { return Err(lost_unconfirmed()) };
        let size = message.body.len();
        let opening = alone.connection.unless_lost(alone.open());
        let channel = opening.await.map_err(Error::unsent)?;
        alone.queue.set_channel(&channel);
        let (request, mut outcome) = PublishRequest::new(message);
        let guard = alone.queue.submit(request)?;
        let known = tokio::select! {
            biased;
            known = &mut outcome => Some(known),
            () = alone.flush_until_lost(&channel) => None,
        };
        alone.queue.remove_channel();
        // Withdraws a message that was not written.
        drop(guard);
        let known = match known {
            Some(known) => known,
            None => outcome.await,
        };
        known.unwrap_or_else(|_| Err(lost_unconfirmed()))?;
        self.proven.fetch_max(size, Ordering::Relaxed);
        Ok(())
    }
}

/// 1 MiB: a broker with a lower limit is not worth a channel for each message of some size.
const ACCEPTED: usize = 1 << 20;
