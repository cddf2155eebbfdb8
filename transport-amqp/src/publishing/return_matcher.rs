//! Matches returned messages to their publishers, on connections that the program supplied. On all
//! others, `unconfirmed_table` knows the outcome from the frames.
//!
//! The broker returns a message before it confirms it. The engine queues returned messages, and
//! attaches the oldest to the next confirm that it resolves. So a returned message may arrive with
//! the confirm of another message, before its own confirm or after it. Two facts are certain, and
//! suffice:
//!
//! - A confirm without a returned message found the queue empty. All messages that were returned
//!   before, its own included, came with confirms that were resolved earlier.
//! - The queue is never longer than the list of unconfirmed messages. So once as many further
//!   confirms are resolved as messages were unconfirmed, the whole queue has been attached.

use lapin::BasicProperties;
use lapin::types::ShortString;
use polywire_core::Error;
use rustc_hash::FxHashMap;

use super::confirm_outcome::PublishOutcome;
use crate::wire::OutgoingMessage;

/// The key that distinguishes a mandatory message from the others of its channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ReturnKey {
    pub(super) routing_key: ShortString,
    /// Correlation id of a request, and else the message id, which stamping sets on every mandatory
    /// message.
    pub(super) id: ShortString,
}

impl ReturnKey {
    /// Returns the key of a stamped message, if the broker may return it.
    ///
    /// Two messages have the same key only if another program gave both the same id, and both go to
    /// the same queue. Then the one stands for the other.
    pub(super) fn of(message: &OutgoingMessage) -> Option<Self> {
        Some(Self { routing_key: message.routing_key.clone(), id: return_id(message)? })
    }

    /// Returns the key of a returned message.
    pub(super) fn new(routing_key: ShortString, properties: &BasicProperties) -> Self {
        Self { routing_key, id: id_in(properties).unwrap_or_default() }
    }
}

/// Returns the id of a stamped message by which a return is recognized, if the broker may return
/// the message.
pub(super) fn return_id(message: &OutgoingMessage) -> Option<ShortString> {
    id_in(&message.properties).filter(|_| message.mandatory)
}

/// Returns the id that distinguishes a message. Callers may give several calls one message id.
fn id_in(properties: &BasicProperties) -> Option<ShortString> {
    let correlation_id = properties.correlation_id().as_ref();
    let of_request = correlation_id.filter(|_| properties.reply_to().is_some());
    of_request.or(properties.message_id().as_ref()).cloned()
}

/// A resolved confirm.
#[derive(Debug)]
pub(super) struct Confirm<T> {
    /// Key of the confirmed message, if the broker may return it.
    pub(super) return_key: Option<ReturnKey>,
    /// The broker's answer for this message.
    pub(super) verdict: Verdict,
    /// Key of the returned message that the engine attached, of this or another confirm.
    pub(super) returned: Option<ReturnKey>,
    /// The sender that waits for the outcome.
    pub(super) waiter: T,
}

/// The verdict of a confirm on its own message.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// The broker acknowledged the message. It may have returned it before.
    Acked,
    /// The broker rejected the message.
    Nacked,
    /// The channel is lost, with all its unconfirmed messages.
    Lost(Error),
}

/// Matches returned messages to the confirms of a channel.
///
/// A batch holds at least the confirms that were resolved before it began, and none that was
/// resolved before the previous batch. So the next batch decides the open cases of a batch, and a
/// confirm without a returned message decides those of the batch before the last.
///
/// The task that reads confirms owns the matcher, which waits for nothing and locks nothing.
#[derive(Debug)]
pub(super) struct ReturnMatcher<T> {
    /// Number of returns of each key that are not matched yet.
    returned: FxHashMap<ReturnKey, usize>,
    /// The last batch, and the number of confirms after which all of its returns are known.
    last: (Vec<Confirm<T>>, u64),
    undecided: Vec<Undecided<T>>,
    /// Number of confirms up to the last batch.
    resolved: u64,
    /// The error of the lost channel, after which no further returns arrive.
    lost: Option<Error>,
}

/// A message that the broker acknowledged, and may have returned before.
#[derive(Debug)]
struct Undecided<T> {
    return_key: ReturnKey,
    waiter: T,
    /// Number of resolved confirms at which its return would be known.
    known_at: u64,
}

impl<T> ReturnMatcher<T> {
    /// Creates a matcher for a new channel.
    pub(super) fn new() -> Self {
        let (returned, last) = (FxHashMap::default(), (Vec::new(), 0));
        Self { returned, last, undecided: Vec::new(), resolved: 0, lost: None }
    }

    /// Returns whether another batch, even an empty one, would decide more messages.
    pub(super) fn is_waiting(&self) -> bool {
        !self.last.0.is_empty()
    }

    /// Adds the next batch, and the number of messages that are still unconfirmed. Returns the
    /// outcomes that are certain now.
    pub(super) fn next(
        &mut self,
        batch: Vec<Confirm<T>>,
        unconfirmed: usize,
    ) -> Vec<(T, PublishOutcome)> {
        let mut decided = Vec::with_capacity(self.last.0.len());
        for key in batch.iter().filter_map(|confirm| confirm.returned.clone()) {
            *self.returned.entry(key).or_default() += 1;
        }
        let was_empty = batch.iter().any(Confirm::found_no_return);
        self.lost = self.lost.take().or_else(|| batch.iter().find_map(Confirm::loss));
        for undecided in std::mem::take(&mut self.undecided) {
            self.decide(undecided, was_empty, &mut decided);
        }
        let (last, known_at) = std::mem::take(&mut self.last);
        for confirm in last {
            self.evaluate(confirm, known_at, &mut decided);
        }
        let is_idle = batch.is_empty() && unconfirmed == 0 && self.undecided.is_empty();
        if is_idle {
            // The remaining returns belong to messages with another outcome.
            self.returned.clear();
        }
        let known_at = self.resolved + (batch.len() + unconfirmed) as u64;
        // Confirms that fail with the channel come without a returned message.
        self.resolved += batch.iter().filter(|confirm| confirm.loss().is_none()).count() as u64;
        self.last = (batch, known_at);
        decided
    }

    /// Decides a confirm of the last batch, or adds it to the undecided ones.
    fn evaluate(
        &mut self,
        confirm: Confirm<T>,
        known_at: u64,
        decided: &mut Vec<(T, PublishOutcome)>,
    ) {
        let found_no_return = confirm.found_no_return();
        let Confirm { return_key, verdict, waiter, .. } = confirm;
        let outcome = match (verdict, return_key) {
            (Verdict::Acked, None) => PublishOutcome::Accepted,
            (Verdict::Acked, Some(return_key)) => {
                let undecided = Undecided { return_key, waiter, known_at };
                return self.decide(undecided, found_no_return, decided);
            }
            (Verdict::Nacked, _) => PublishOutcome::Rejected,
            (Verdict::Lost(error), _) => PublishOutcome::Unknown(error),
        };
        decided.push((waiter, outcome));
    }

    /// Decides an acknowledged message: if its return has arrived, if its return `is_known` not to
    /// exist, or if the channel is lost.
    fn decide(
        &mut self,
        undecided: Undecided<T>,
        is_known: bool,
        decided: &mut Vec<(T, PublishOutcome)>,
    ) {
        let outcome = if self.was_returned(&undecided.return_key) {
            PublishOutcome::Returned
        } else if is_known || undecided.known_at <= self.resolved {
            PublishOutcome::Accepted
        } else if let Some(error) = &self.lost {
            PublishOutcome::Unknown(error.clone())
        } else {
            return self.undecided.push(undecided);
        };
        decided.push((undecided.waiter, outcome));
    }

    /// Matches one return of this key, if there is any.
    fn was_returned(&mut self, key: &ReturnKey) -> bool {
        let Some(times) = self.returned.get_mut(key) else { return false };
        *times -= 1;
        if *times == 0 {
            self.returned.remove(key);
        }
        true
    }
}

impl<T> Confirm<T> {
    /// Returns whether the engine's queue of returned messages was empty.
    fn found_no_return(&self) -> bool {
        self.returned.is_none() && self.loss().is_none()
    }

    /// Returns the error of the lost channel, if the confirm failed with it.
    fn loss(&self) -> Option<Error> {
        match &self.verdict {
            Verdict::Lost(error) => Some(error.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
