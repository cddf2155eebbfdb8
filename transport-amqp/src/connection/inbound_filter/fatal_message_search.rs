//! Search for a message over which the engine fails for a reason that no filter knows.
//!
//! The engine ends the connection, the broker redelivers the message, and the message ends the next
//! connection. After the first such end, the next connections are read carefully: the engine gets
//! one frame at a time, so the frame over which it fails is known. A message that has ended two
//! such connections is taken aside: its content header is replaced from then on.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::ErrorKind;
use tokio::time::Instant;

use crate::engine_cause::EngineCause;
use crate::lock::lock;

/// State that the supervisor of a connection shares with the streams of its connections.
///
/// Clones share the state. The lock is held for a few assignments, and never across an await. The
/// supervisor notes the ends, and the stream of each connection its frames.
#[derive(Clone, Default)]
pub(in crate::connection) struct FatalMessageSearch(Arc<Mutex<State>>);

/// Ends and suspects so far. A connection that was replaced changes nothing any more: its number
/// differs from `connection`.
#[derive(Default)]
struct State {
    /// Ends by the engine in a row.
    ends: u32,
    /// Time of the last one.
    last_end: Option<Instant>,
    /// Messages over which the engine has failed; at most [`SUSPECTS_MAX`].
    suspects: Vec<FatalCandidate>,
    /// Number of the current connection.
    connection: u64,
    /// Message whose frame the engine of the current connection has, if it is read carefully.
    current: Option<MessageKey>,
    /// Set once the broker has closed the current connection.
    is_closed_by_broker: bool,
    /// Set once the engine of the current connection has panicked.
    has_panicked: bool,
}

/// The properties by which a message is known at its next delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MessageKey {
    /// The queue, which is also the tag of its consumer.
    pub(super) queue: Box<[u8]>,
    /// Fingerprint of the content header; `None` before the engine had the header.
    pub(super) fingerprint: Option<u64>,
}

/// A message over which the engine has failed.
#[derive(Clone, Debug)]
pub(super) struct FatalCandidate {
    pub(super) key: MessageKey,
    /// Connections that it has ended.
    ends: u32,
    /// The treatment of its next delivery.
    pub(super) treatment: Treatment,
    /// The engine's last error, for the header in its place.
    pub(super) cause: String,
}

/// The treatment of a message at its next delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connection) enum Treatment {
    /// The message passes as it is.
    Pass,
    /// Its headers are left out, and the texts that are not ASCII.
    WithoutHeaders,
    /// All its properties are left out.
    WithoutProperties,
    /// Nothing helps.
    Impossible,
}

/// A queue that has ended connections.
pub(in crate::connection) struct FoundQueue {
    pub(in crate::connection) queue: String,
    /// Connections in a row that the engine has ended.
    pub(in crate::connection) ends: u32,
    /// The treatment of the message from now on.
    pub(in crate::connection) treatment: Treatment,
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "none yet",
            Self::WithoutHeaders => "the message becomes undecodable, without its headers",
            Self::WithoutProperties => "the message becomes undecodable, without its properties",
            Self::Impossible => "none: the message goes on to end connections; remove it by hand",
        })
    }
}

impl FatalMessageSearch {
    /// Starts a connection.
    ///
    /// The watch of the connection before has no effect from now on. The suspects stay, unless the
    /// last end is more than 10 minutes ago.
    pub(super) fn begin(&self) -> ConnectionWatch {
        let mut state = lock(&self.0);
        state.forget_old();
        state.connection += 1;
        state.current = None;
        (state.is_closed_by_broker, state.has_panicked) = (false, false);
        ConnectionWatch { search: self.clone(), connection: state.connection }
    }

    /// Returns whether the engine of the current connection has panicked.
    pub(in crate::connection) fn has_panicked(&self) -> bool {
        lock(&self.0).has_panicked
    }

    /// Notes the end of the current connection, with the engine's error. Returns the queue of the
    /// message that has ended it, if this is known by now.
    ///
    /// Only an end by the engine itself counts: not one by the broker, and not one by the socket. A
    /// message is named after two ends of its own among three in a row. Another message of a known
    /// queue is named at once.
    pub(in crate::connection) fn note_end(
        &self,
        reason: Option<&lapin::Error>,
    ) -> Option<FoundQueue> {
        let mut state = lock(&self.0);
        if !state.is_own_failure(reason) {
            return None;
        }
        state.forget_old();
        state.ends = state.ends.saturating_add(1);
        state.last_end = Some(Instant::now());
        let key = state.current.take()?;
        let cause = match reason {
            Some(reason) if !state.has_panicked => EngineCause::of(reason).to_string(),
            _ => "it panicked".to_owned(),
        };
        let cause = cause.chars().take(CAUSE_MAX).collect::<String>();
        let is_known_queue = state
            .suspects
            .iter()
            .any(|suspect| suspect.key.queue == key.queue && suspect.treatment != Treatment::Pass);
        let at = state.suspects.iter().position(|suspect| suspect.key == key);
        let at = at.unwrap_or_else(|| state.add(key));
        let ends = state.ends;
        let suspect = &mut state.suspects[at];
        suspect.ends += 1;
        suspect.cause = format!("the AMQP engine failed at it: {cause}");
        if !is_known_queue && (ends < ENDS_MIN || suspect.ends < CAREFUL_ENDS_MIN) {
            return None;
        }
        suspect.treatment = suspect.next_treatment();
        let queue = String::from_utf8_lossy(&suspect.key.queue).into_owned();
        Some(FoundQueue { queue, ends, treatment: suspect.treatment })
    }
}

impl State {
    /// Returns whether the engine ended the connection by itself: not the broker, nor a socket.
    fn is_own_failure(&self, reason: Option<&lapin::Error>) -> bool {
        self.has_panicked
            || reason.is_some_and(|reason| match reason.kind() {
                ErrorKind::ParsingError(_)
                | ErrorKind::InvalidProtocolVersion(_)
                | ErrorKind::InvalidChannel(_) => true,
                ErrorKind::ProtocolError(_) => !self.is_closed_by_broker,
                _ => false,
            })
    }

    /// Starts anew if the last end is long ago.
    fn forget_old(&mut self) {
        if self.last_end.is_some_and(|end| end.elapsed() >= FORGET_AFTER) {
            (self.ends, self.last_end) = (0, None);
            self.suspects.clear();
        }
    }

    /// Adds a suspect, in place of the oldest one if there are too many. Returns its index.
    fn add(&mut self, key: MessageKey) -> usize {
        if self.suspects.len() == SUSPECTS_MAX {
            self.suspects.remove(0);
        }
        let cause = String::new();
        self.suspects.push(FatalCandidate { key, ends: 0, treatment: Treatment::Pass, cause });
        self.suspects.len() - 1
    }
}

impl FatalCandidate {
    /// Returns the treatment after one more end.
    fn next_treatment(&self) -> Treatment {
        match self.treatment {
            // The method of the delivery is fatal: there is no header in its place yet.
            _ if self.key.fingerprint.is_none() => Treatment::Impossible,
            Treatment::Pass => Treatment::WithoutHeaders,
            Treatment::WithoutHeaders => Treatment::WithoutProperties,
            Treatment::WithoutProperties | Treatment::Impossible => Treatment::Impossible,
        }
    }
}

/// One connection's part in the search. A drop within a panic counts as a panic of the engine,
/// which owns the stream.
pub(super) struct ConnectionWatch {
    search: FatalMessageSearch,
    connection: u64,
}

impl ConnectionWatch {
    /// Returns the messages to take aside, and the end of careful reading; `None` if this
    /// connection need not be read carefully.
    pub(super) fn careful(&self) -> Option<(Vec<FatalCandidate>, Instant)> {
        let state = lock(&self.search.0);
        let until = state.last_end? + FORGET_AFTER;
        let is_taken = |suspect: &&FatalCandidate| suspect.treatment != Treatment::Pass;
        Some((state.suspects.iter().filter(is_taken).cloned().collect(), until))
    }

    /// Notes that the broker closes the connection.
    pub(super) fn close_by_broker(&self) {
        self.update(|state| state.is_closed_by_broker = true);
    }

    /// Sets the message whose frame the engine gets next.
    ///
    /// `None` stands for a frame that belongs to no delivery.
    pub(super) fn enter(&self, current: Option<MessageKey>) {
        self.update(|state| state.current = current);
    }

    /// Clears a suspect: the engine has survived the whole message.
    ///
    /// A suspect that is taken aside stays: the engine has survived only its replacement.
    pub(super) fn clear(&self, key: &MessageKey) {
        self.update(|state| {
            let is_cleared =
                |of: &FatalCandidate| of.key == *key && of.treatment == Treatment::Pass;
            state.suspects.retain(|suspect| !is_cleared(suspect));
        });
    }

    /// Changes the state, unless another connection has begun.
    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.search.0);
        if state.connection == self.connection {
            change(&mut state);
        }
    }
}

impl Drop for ConnectionWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.update(|state| state.has_panicked = true);
        }
    }
}

/// Ends by the engine in a row before a message is taken aside.
const ENDS_MIN: u32 = 3;
/// Ends that are known to be due to the message, among them.
const CAREFUL_ENDS_MIN: u32 = 2;
/// The time after the last end for which connections are read carefully, and suspects are kept. An
/// engine that has panicked is noticed after two heartbeats.
pub(super) const FORGET_AFTER: Duration = Duration::from_mins(10);
/// The most suspects that are kept.
const SUSPECTS_MAX: usize = 64;
/// Characters of the engine's error in a header.
const CAUSE_MAX: usize = 160;

#[cfg(test)]
mod tests;
