//! The replies of a server that leave in batches.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lapin::types::ShortString;
use polywire_core::message::ReplyTo;
use polywire_core::transport::Sending;
use polywire_core::{Message, Result};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::batching::message_joiner::{BatchRoute, MessageJoiner};
use crate::consuming::batch_lane::AnnouncedCalls;
use crate::lock::lock;
use crate::shared::AmqpShared;
use crate::wire::OutgoingMessage;
use crate::wire::native::{self, BatchWriter, ENTRIES_MAX, ENTRY_MAX};

/// The replies to each requester that sends batches.
///
/// Replies to a requester are joined for two seconds after its last batch.
pub(crate) struct JoinedReplies {
    shared: Arc<AmqpShared>,
    announced: AnnouncedCalls,
    /// At most [`CLIENTS_MAX`] requesters, by their part of the reply address.
    clients: Mutex<FxHashMap<Bytes, BatchClient>>,
}

/// A requester that reads batches.
struct BatchClient {
    joiner: Arc<MessageJoiner<ReplyRoute>>,
    /// The moment of its last batch.
    heard: Instant,
}

/// The way of replies to one requester.
struct ReplyRoute {
    shared: Arc<AmqpShared>,
    queue: ShortString,
    announced: AnnouncedCalls,
}

impl JoinedReplies {
    /// Creates an empty set for a server that announces this number of calls.
    pub(crate) fn new(shared: Arc<AmqpShared>, announced: AnnouncedCalls) -> Arc<Self> {
        Arc::new(Self { shared, announced, clients: Mutex::default() })
    }

    /// Records that a requester has sent a batch, with a call of this reply address. Panics outside
    /// of a runtime.
    pub(crate) fn note_client(&self, address: &ReplyTo) {
        let heard = Instant::now();
        let Some(requester) = native::requester_part(address) else { return };
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get_mut(requester) {
            client.heard = heard;
            return;
        }
        if clients.len() >= CLIENTS_MAX {
            clients.retain(|_, client| client.heard.elapsed() < JOINED_FOR);
        }
        let queue = native::split_reply_address(address).map(|(queue, _)| queue);
        let Some(Ok(queue)) = queue.map(ShortString::try_new) else { return };
        if clients.len() >= CLIENTS_MAX {
            return;
        }
        let (shared, announced) = (self.shared.clone(), self.announced.clone());
        let route = ReplyRoute { shared: shared.clone(), queue, announced };
        let joiner = MessageJoiner::new(shared, route);
        let requester = Bytes::copy_from_slice(requester);
        clients.insert(requester, BatchClient { joiner, heard });
    }

    /// Sends a reply with the next batch of its client, or returns the reply, which has to leave
    /// alone.
    pub(crate) fn send(&self, reply: Box<Message>) -> Result<Sending<'_>, Box<Message>> {
        let Some(joiner) = reply.reply_to.as_ref().and_then(|address| self.joiner(address)) else {
            return Err(reply);
        };
        let len = if reply.body.len() <= ENTRY_MAX { native::entry_len(&reply) } else { None };
        match len.filter(|len| *len <= ENTRY_MAX) {
            Some(len) => Ok(joiner.send(reply, len)),
            None => Err(reply),
        }
    }

    /// Returns the joiner for a reply address, if its client has sent a batch lately.
    fn joiner(&self, address: &ReplyTo) -> Option<Arc<MessageJoiner<ReplyRoute>>> {
        let requester = native::requester_part(address)?;
        let clients = lock(&self.clients);
        let client = clients.get(requester)?;
        (client.heard.elapsed() < JOINED_FOR).then(|| client.joiner.clone())
    }
}

impl BatchRoute for ReplyRoute {
    fn entries_max(&self) -> usize {
        ENTRIES_MAX
    }

    fn correlation_id(&self, message: &Message) -> Option<String> {
        let (_, id) = native::split_reply_address(message.reply_to.as_ref()?)?;
        Some(id.to_owned())
    }

    fn join(&self, batch: BatchWriter) -> OutgoingMessage {
        let calls = self.announced.load(Ordering::Relaxed);
        batch.into_replies(&self.queue, calls, self.shared.config.persistent)
    }

    fn encode(&self, message: Message) -> Result<OutgoingMessage> {
        native::encode_reply(message, self.shared.config.persistent)
    }

    /// The client is gone.
    fn is_unroutable(&self) -> bool {
        false
    }

    fn failed(&self, _: &Message) {}
}

/// The time after a batch of a client for which its replies are joined.
const JOINED_FOR: Duration = Duration::from_secs(2);
/// The most requesters that are remembered. Replies to further ones leave alone.
const CLIENTS_MAX: usize = 10_000;
