//! The task that reads the confirms of a channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::sync::{Notify, watch};
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

use super::confirm_outcome::NACK_GRACE;
use super::publish_request::ConfirmWaiter;
use super::refused_message::Refused;
use super::return_matcher::{Confirm, ReturnKey, ReturnMatcher, Verdict};
use super::size_limits::SizeLimits;
use super::unconfirmed_limit::UnconfirmedLimit;
use super::unconfirmed_queue::{UnconfirmedPublish, UnconfirmedQueue};

/// The task that reads the confirms of a channel and resolves the waiting senders, on a connection
/// of the program: no filter reads the confirms there.
///
/// Each confirmation is polled to its end, even if its sender no longer waits: the engine keeps a
/// dropped one until the connection closes.
///
/// A channel that rejects messages counts as lost, too. A channel whose first message went to a
/// quorum queue during a leader change would reject messages until that node is back. Its
/// unconfirmed messages are still confirmed.
///
/// No owner aborts the task. If its runtime ends, the waiters are dropped, and their senders fail
/// as `Disconnected`.
pub(super) struct ConfirmTask {
    /// Keeps the channel open until all messages are confirmed.
    _channel: Arc<Channel>,
    opened: Instant,
    /// Exchange of all messages, for errors.
    exchange: ShortString,
    /// Source of written messages and of wake-ups.
    submitted: Arc<UnconfirmedQueue>,
    unconfirmed: Arc<UnconfirmedLimit>,
    /// Signal that fewer messages are unconfirmed.
    room: Arc<Notify>,
    /// Sizes that the broker confirms or refuses.
    sizes: Arc<SizeLimits>,
    /// Unconfirmed messages in the order of writing, with their wakers. A confirmed message leaves
    /// an empty slot until all earlier ones are confirmed.
    waiting: VecDeque<Option<(UnconfirmedPublish, Waker)>>,
    /// Number of the first message in `waiting`.
    first: u64,
    /// Number of filled slots in `waiting`.
    waiting_count: usize,
    matcher: ReturnMatcher<ConfirmWaiter>,
}

impl ConfirmTask {
    /// Creates the task of a channel. It notifies `room` whenever fewer messages are unconfirmed.
    pub(super) fn new(
        channel: Arc<Channel>,
        exchange: ShortString,
        submitted: Arc<UnconfirmedQueue>,
        unconfirmed: Arc<UnconfirmedLimit>,
        room: Arc<Notify>,
        sizes: Arc<SizeLimits>,
    ) -> Self {
        Self {
            _channel: channel,
            opened: Instant::now(),
            exchange,
            submitted,
            unconfirmed,
            room,
            sizes,
            waiting: VecDeque::new(),
            first: 0,
            waiting_count: 0,
            matcher: ReturnMatcher::new(),
        }
    }

    /// Resolves senders until the queue is closed and nothing is unconfirmed. Sets `lost` when
    /// nothing more may be published on the channel.
    pub(super) async fn run(mut self, lost: watch::Sender<bool>) {
        loop {
            // While other threads publish, there is always another batch.
            consume_budget().await;
            let batch = self.next_batch();
            if batch.is_empty() && !self.matcher.is_waiting() {
                if self.waiting_count == 0 && self.submitted.is_closed() {
                    return;
                }
                self.submitted.changed().await;
                continue;
            }
            if batch.iter().any(|confirm| self.ends_channel(&confirm.verdict)) {
                lost.send_replace(true);
            }
            let mut is_wanted = false;
            for (waiter, outcome) in self.matcher.next(batch, self.waiting_count) {
                is_wanted |= self.unconfirmed.leave(waiter.size);
                let outcome = outcome.result(&waiter.routing_key);
                waiter.resolve(outcome);
            }
            if is_wanted {
                self.room.notify_one();
            }
        }
    }

    /// Returns whether nothing more may be published on the channel.
    fn ends_channel(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Acked => false,
            // A full queue rejects on every channel, so a young channel is not replaced.
            Verdict::Nacked => self.opened.elapsed() >= NACK_GRACE,
            Verdict::Lost(_) => true,
        }
    }

    /// Returns all confirms up to now, and perhaps some that arrive meanwhile.
    ///
    /// Woken messages are taken before new ones. So all messages that can be confirmed by then are
    /// known.
    fn next_batch(&mut self) -> Vec<Confirm<ConfirmWaiter>> {
        let woken = self.submitted.take_woken();
        let mut batch: Vec<_> = woken.into_iter().filter_map(|number| self.poll(number)).collect();
        for publish in self.submitted.take_new() {
            let number = self.first + self.waiting.len() as u64;
            self.waiting.push_back(Some((publish, self.submitted.waker(number))));
            self.waiting_count += 1;
            batch.extend(self.poll(number));
        }
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
        batch
    }

    /// Polls the confirmation of one message.
    ///
    /// `None` if the confirm has not arrived, or was read before.
    fn poll(&mut self, number: u64) -> Option<Confirm<ConfirmWaiter>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let slot = self.waiting.get_mut(at)?;
        let (publish, waker) = slot.as_mut()?;
        let polled = publish.confirming.as_mut().poll(&mut Context::from_waker(waker));
        let Poll::Ready(confirmation) = polled else { return None };
        let (UnconfirmedPublish { return_key, body_len, waiter, .. }, _) = slot.take()?;
        self.waiting_count -= 1;
        let (exchange, routing_key) = (self.exchange.as_str(), waiter.routing_key.as_str());
        let (verdict, returned) = read(confirmation, &Refused { exchange, routing_key, body_len });
        match &verdict {
            Verdict::Acked => self.sizes.note_confirmed(body_len),
            Verdict::Nacked => {}
            Verdict::Lost(error) => self.sizes.note_refused(error),
        }
        Some(Confirm { return_key, verdict, returned: returned.map(key_of), waiter })
    }
}

/// Returns the verdict of a confirmation, and the returned message that the engine attached.
fn read(
    confirmation: lapin::Result<Confirmation>,
    message: &Refused<'_>,
) -> (Verdict, Option<BasicReturnMessage>) {
    match confirmation {
        Ok(Confirmation::Ack(returned)) => (Verdict::Acked, returned),
        Ok(Confirmation::NotRequested) => (Verdict::Acked, None),
        Ok(Confirmation::Nack(returned)) => (Verdict::Nacked, returned),
        Err(error) => (Verdict::Lost(message.error(&error)), None),
    }
}

/// Returns the key of a returned message.
fn key_of(message: BasicReturnMessage) -> ReturnKey {
    let BasicReturnMessage { delivery: message, .. } = message;
    ReturnKey::new(message.routing_key, &message.properties)
}
