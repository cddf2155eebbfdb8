//! Unconfirmed messages, and returned ones, of a channel whose frames the inbound filter reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use lapin::types::ShortString;
use lapin::{Channel, ConnectionStatus};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::confirm_outcome::{NACK_GRACE, PublishOutcome, unconfirmed};
use super::publish_request::ConfirmWaiter;
use super::refused_message::Refused;
use super::return_matcher::ReturnKey;
use super::size_limits::SizeLimits;
use super::unconfirmed_limit::UnconfirmedLimit;
use crate::connection::confirm_listeners::{ConfirmFrame, ConfirmListener, ConfirmListeners};
use crate::lock::lock;

/// The unconfirmed messages of a channel, in the order of writing.
///
/// The frames of the broker are read in their order, so the outcome of each message is certain when
/// its confirm arrives: the broker returns a message before it confirms it. The engine's thread
/// resolves the senders. The engine itself takes the channel for one without confirms, and keeps
/// nothing for its messages.
///
/// The limit on unconfirmed messages bounds the messages, but not the empty slots behind a message
/// whose confirm does not come.
pub(super) struct UnconfirmedTable {
    state: Mutex<State>,
    /// Exchange of all messages, for errors.
    exchange: ShortString,
    opened: Instant,
    limit: Arc<UnconfirmedLimit>,
    /// The longest wait of a sender for the confirm.
    confirm_timeout: Duration,
    /// Signal that fewer messages are unconfirmed, for a message that waits for room.
    room: Arc<Notify>,
    /// Sizes that the broker confirms or refuses.
    sizes: Arc<SizeLimits>,
    /// Set when nothing more may be published on the channel.
    lost: watch::Sender<bool>,
    /// Signal for the task: the table is closed and empty, or messages were returned.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Number of the first message in `messages`, less 1: the broker counts from 1.
    confirmed: u64,
    /// Messages in the order of writing. A confirmed message leaves an empty slot until all earlier
    /// ones are confirmed.
    messages: VecDeque<Option<WrittenMessage>>,
    /// Number of filled slots in `messages`.
    count: usize,
    /// Number of returns of each key whose confirms have not arrived.
    returned: FxHashMap<ReturnKey, usize>,
    /// Number of returned messages that the engine still keeps.
    kept_returns: usize,
    /// Set when no message will be added.
    is_closed: bool,
    /// The error of the channel, once it is lost.
    loss: Option<lapin::Error>,
}

/// A message that is written and not confirmed.
struct WrittenMessage {
    written: Instant,
    /// The id by which a returned message is recognized; `None` if it cannot be returned.
    return_id: Option<ShortString>,
    /// Bytes of the body, by which a message over the broker's size limit is recognized.
    body_len: usize,
    waiter: ConfirmWaiter,
}

impl UnconfirmedTable {
    /// Creates the table of a channel that was just opened. It notifies `room` when a message waits
    /// for room, and sets `lost` when nothing more may be published.
    pub(super) fn new(
        exchange: ShortString,
        limit: Arc<UnconfirmedLimit>,
        confirm_timeout: Duration,
        room: Arc<Notify>,
        sizes: Arc<SizeLimits>,
        lost: watch::Sender<bool>,
    ) -> Self {
        let (state, opened, changed) = (Mutex::default(), Instant::now(), Notify::new());
        Self { state, exchange, opened, limit, confirm_timeout, room, sizes, lost, changed }
    }

    /// Adds a message that is written next. On a lost channel, the message fails.
    ///
    /// `return_id` is the id by which the broker would return it; `None` if it cannot be returned.
    pub(super) fn push(
        &self,
        return_id: Option<ShortString>,
        body_len: usize,
        waiter: ConfirmWaiter,
    ) {
        let message = WrittenMessage { written: Instant::now(), return_id, body_len, waiter };
        let mut state = lock(&self.state);
        match state.loss.clone() {
            None => {
                state.messages.push_back(Some(message));
                state.count += 1;
            }
            Some(loss) => {
                drop(state);
                self.fail(message, &loss);
            }
        }
    }

    /// Says that no message will be added.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_one();
    }

    /// Watches the channel until the table is closed and empty, or until the channel is lost.
    /// `loss` resolves with the error of the channel.
    ///
    /// Keeps the channel open meanwhile. No owner aborts the task. If its runtime ends, the
    /// unconfirmed messages fail, too.
    pub(super) fn watch(
        self: Arc<Self>,
        channel: Arc<Channel>,
        connection: ConnectionStatus,
        loss: impl Future<Output = lapin::Error>,
        listeners: ConfirmListeners,
    ) -> impl Future<Output = ()> {
        // Not within the future, which may be dropped before it is polled.
        let mut end = EndOnDrop { table: self, listeners, error: None };
        async move {
            tokio::pin!(loss);
            let (table, mut since_lost) = (end.table.clone(), None);
            // Returned messages do not put the look off.
            let mut look_at = Instant::now() + CHECK_INTERVAL.min(table.confirm_timeout);
            while end.error.is_none() && !lock(&table.state).is_done() {
                tokio::select! {
                    biased;
                    error = &mut loss => end.error = Some(error),
                    // The engine reports no error for some ways in which a connection ends.
                    () = sleep_until(look_at) => {
                        table.drop_returns(&channel);
                        look_at = Instant::now() + table.give_up_waiting();
                        if !(connection.connected() && channel.status().connected()) {
                            let since = *since_lost.get_or_insert_with(Instant::now);
                            end.error = (since.elapsed() >= LOSS_MAX).then(unknown_loss);
                        }
                    }
                    () = table.changed.notified() => table.drop_returns(&channel),
                }
            }
        }
    }

    /// Fails all messages, and those that are added from now on.
    fn end(&self, error: &lapin::Error) {
        self.lost.send_replace(true);
        let messages = {
            let mut state = lock(&self.state);
            state.loss = Some(error.clone());
            state.count = 0;
            std::mem::take(&mut state.messages)
        };
        for message in messages.into_iter().flatten() {
            self.fail(message, error);
        }
        self.room.notify_one();
    }

    /// Fails the senders that have waited for the confirm timeout. Their messages count until they
    /// are confirmed. Returns the pause until the next look.
    fn give_up_waiting(&self) -> Duration {
        let (now, pause) = (Instant::now(), CHECK_INTERVAL.min(self.confirm_timeout));
        let (mut overdue, mut next) = (Vec::new(), None);
        for message in lock(&self.state).messages.iter_mut().flatten() {
            let left = self.confirm_timeout.saturating_sub(now - message.written);
            if !left.is_zero() {
                next = Some(left);
                break;
            }
            overdue.extend(message.waiter.give_up());
        }
        for sender in overdue {
            sender.send(Err(unconfirmed(self.confirm_timeout)));
        }
        next.map_or(pause, |next| next.min(pause))
    }

    /// Makes the engine forget returned messages, which it keeps whole for the next caller of this
    /// method. It may not have read the last ones yet.
    fn drop_returns(&self, channel: &Channel) {
        if lock(&self.state).kept_returns == 0 {
            return;
        }
        // Waits for nothing, since the engine knows of no confirms.
        let dropped = channel.wait_for_confirms().now_or_never().and_then(lapin::Result::ok);
        let dropped = dropped.map_or(0, |messages| messages.len());
        let mut state = lock(&self.state);
        state.kept_returns = state.kept_returns.saturating_sub(dropped);
    }

    /// Reports the outcome of a message to its sender. Returns whether a message waits for its
    /// room.
    fn resolve(&self, message: WrittenMessage, outcome: PublishOutcome) -> bool {
        let WrittenMessage { waiter, .. } = message;
        let is_wanted = self.limit.leave(waiter.size);
        let outcome = outcome.result(&waiter.routing_key);
        waiter.resolve(outcome);
        is_wanted
    }

    /// Fails a message with its channel.
    fn fail(&self, message: WrittenMessage, loss: &lapin::Error) {
        let (exchange, routing_key) = (self.exchange.as_str(), message.waiter.routing_key.as_str());
        let error = Refused { exchange, routing_key, body_len: message.body_len }.error(loss);
        self.sizes.note_refused(&error);
        // The supervisor is notified in any case.
        let _ = self.resolve(message, PublishOutcome::Unknown(error));
    }
}

/// Ends a table when the task of its channel ends, or is dropped with its runtime.
struct EndOnDrop {
    table: Arc<UnconfirmedTable>,
    listeners: ConfirmListeners,
    /// The error of the channel, if there is one.
    error: Option<lapin::Error>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.table.end(&self.error.take().unwrap_or_else(unknown_loss));
        let listener: Arc<dyn ConfirmListener> = self.table.clone();
        self.listeners.remove(&listener);
    }
}

impl ConfirmListener for UnconfirmedTable {
    fn confirmed(&self, confirm: ConfirmFrame) {
        if !confirm.is_ack && self.opened.elapsed() >= NACK_GRACE {
            // A full queue rejects on every channel, so a young channel is not replaced.
            self.lost.send_replace(true);
        }
        let (messages, is_done) = {
            let mut state = lock(&self.state);
            (state.take(confirm), state.is_done())
        };
        let mut is_wanted = false;
        for (message, is_returned) in messages {
            let outcome = match confirm.is_ack {
                true if is_returned => PublishOutcome::Returned,
                true => {
                    self.sizes.note_confirmed(message.body_len);
                    PublishOutcome::Accepted
                }
                false => PublishOutcome::Rejected,
            };
            is_wanted |= self.resolve(message, outcome);
        }
        if is_wanted {
            self.room.notify_one();
        }
        if is_done {
            self.changed.notify_one();
        }
    }

    fn returned(&self, routing_key: &str, id: &str) {
        let (routing_key, id) = (ShortString::try_new(routing_key), ShortString::try_new(id));
        let (Ok(routing_key), Ok(id)) = (routing_key, id) else { return };
        let mut state = lock(&self.state);
        state.kept_returns += 1;
        // A broker returns each message once. So there are no more keys than messages.
        if state.returned.len() < state.count {
            *state.returned.entry(ReturnKey { routing_key, id }).or_default() += 1;
        }
        self.changed.notify_one();
    }
}

impl State {
    /// Takes the confirmed messages out, each once and with whether the broker has returned it.
    fn take(&mut self, confirm: ConfirmFrame) -> Vec<(WrittenMessage, bool)> {
        let mut taken = Vec::new();
        if confirm.multiple {
            let up_to = if confirm.tag == 0 { u64::MAX } else { confirm.tag };
            while self.confirmed < up_to
                && let Some(message) = self.messages.pop_front()
            {
                self.confirmed += 1;
                taken.extend(message.map(|message| (message, false)));
            }
        } else {
            let at = confirm.tag.checked_sub(self.confirmed + 1);
            let at = at.and_then(|at| usize::try_from(at).ok());
            let message = at.and_then(|at| self.messages.get_mut(at)?.take());
            taken.extend(message.map(|message| (message, false)));
            while self.messages.front().is_some_and(Option::is_none) {
                self.messages.pop_front();
                self.confirmed += 1;
            }
        }
        self.count -= taken.len();
        if !self.returned.is_empty() {
            for (message, is_returned) in &mut taken {
                *is_returned = self.was_returned(message);
            }
        }
        if self.count == 0 {
            self.returned.clear();
        }
        taken
    }

    /// Returns whether no message is left, and none will be added.
    fn is_done(&self) -> bool {
        self.is_closed && self.count == 0
    }

    /// Matches one return of this message, if there is any.
    fn was_returned(&mut self, message: &WrittenMessage) -> bool {
        let Some(id) = message.return_id.clone() else { return false };
        let key = ReturnKey { routing_key: message.waiter.routing_key.clone(), id };
        let Some(times) = self.returned.get_mut(&key) else { return false };
        *times -= 1;
        if *times == 0 {
            self.returned.remove(&key);
        }
        true
    }
}

/// Returns the error of a channel whose loss the engine does not explain.
fn unknown_loss() -> lapin::Error {
    lapin::ErrorKind::InvalidChannelState(lapin::ChannelState::Closed, "confirms").into()
}

/// Interval at which the task of a channel looks at its state.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for the error of a channel that is not connected any more.
const LOSS_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
