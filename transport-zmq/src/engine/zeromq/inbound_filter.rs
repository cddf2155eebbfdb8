//! The filter of the bytes that a peer sends: bounds first, then the socket of the crate. No I/O.
//!
//! The crate allocates any length that a frame announces, and takes every command but READY for an
//! error. So the filter checks each header before the crate sees it, and handles the other commands
//! itself.
//!
//! The frames and commands are those of [ZMTP 3.1](https://rfc.zeromq.org/spec/37/). Nothing is
//! buffered beyond a header or a command, so the bound on a message bounds what the crate
//! allocates.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::socket_kind::SocketKind;
use super::zmtp::{
    GREETING, Header, NOT_ZMTP_3, OTHER_SOCKET_TYPE, REFUSED, Ready, TOO_LARGE, Violation,
    read_command, read_greeting, read_ready, write_message, write_ready,
};
use crate::security::FIRST_MAX;

/// The state of one connection, as far as the bytes of the peer go.
#[derive(Debug)]
pub(super) struct InboundFilter {
    /// The type of the socket on this side, which decides on the peers and messages that pass.
    kind: SocketKind,
    /// The bound on a message: the sum of its frames, and 64 bytes for each.
    message_max: u64,
    state: State,
    /// The size of the current message so far, or 0 between messages.
    message_size: u64,
    /// Set while the frames of the current message are dropped.
    drops: bool,
}

/// The part of the stream that is expected next. The states follow in the order of the variants.
/// The last two then repeat.
#[derive(Debug)]
enum State {
    Greeting,
    /// The first command, which has to be READY.
    Ready,
    /// The header of a frame, or a whole command.
    Header,
    /// Bytes of the current frame that are still to come, and whether they are dropped.
    Body {
        left: u64,
        drops: bool,
    },
}

/// A fact that the relay has to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InboundEvent {
    /// The minor version of the peer.
    ///
    /// A later major version counts as minor version 1.
    Greeted(u8),
    /// The peer has finished its part of the handshake.
    Ready(Ready),
    /// A heartbeat: the time after which the peer counts as dead if nothing follows, 0 for none,
    /// and the context for the answer.
    Ping { ttl: Duration, context: Bytes },
}

/// The longest command that is read: a subscription to the longest topic. The data of a longer one
/// is dropped.
const COMMAND_MAX: u64 = FIRST_MAX as u64 + 32;
/// The longest READY command in bytes. A longer one ends the connection.
const READY_MAX: u64 = 2048;
/// The longest context of a heartbeat in bytes, as in ZMTP 3.1. A longer one ends the connection.
const CONTEXT_MAX: usize = 16;
/// Bytes that each frame counts beyond its size.
///
/// Engine `omq` counts the same number, so that one bound fits both engines.
const PART_COST: u64 = 64;
/// The routing id of the peer within its socket of the crate, which has no other peer.
pub(super) const ONLY_PEER: &[u8] = b"p";

impl InboundFilter {
    /// Creates the filter of a new connection.
    ///
    /// `message_max` bounds a message in bytes, and a command after the handshake, too.
    pub(super) fn new(kind: SocketKind, message_max: usize) -> Self {
        let message_max = u64::try_from(message_max).unwrap_or(u64::MAX);
        Self { kind, message_max, state: State::Greeting, message_size: 0, drops: false }
    }

    /// Moves bytes from `input` to `output`, those for the crate. Bytes that are no whole header or
    /// command yet stay in `input`: 2 KiB at most.
    ///
    /// The outcome does not depend on the pieces in which the bytes arrive. Events are appended to
    /// `events`.
    ///
    /// # Errors
    ///
    /// The rule that the peer has broken. The caller ends the connection, since the position in the
    /// stream is lost.
    pub(super) fn feed(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        events: &mut Vec<InboundEvent>,
    ) -> Result<(), Violation> {
        while !input.is_empty() {
            let is_whole = match self.state {
                State::Greeting => self.greeting(input, output, events)?,
                State::Ready => self.ready(input, output, events)?,
                State::Header => self.header(input, output, events)?,
                State::Body { left, drops } => {
                    let part = input
                        .split_to(input.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                    if !drops {
                        output.extend_from_slice(&part);
                    }
                    self.expect_body(left - part.len() as u64, drops);
                    true
                }
            };
            if !is_whole {
                break;
            }
        }
        Ok(())
    }

    /// Sets the state for the bytes of a frame that are still to come.
    fn expect_body(&mut self, left: u64, drops: bool) {
        self.state = if left == 0 { State::Header } else { State::Body { left, drops } };
    }

    /// Passes the greeting on, unchanged. Returns `false` while bytes of it are missing.
    ///
    /// Fails at a first byte that cannot begin a greeting, and for a greeting that is not of ZMTP 3
    /// or names a security mechanism.
    fn greeting(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        events: &mut Vec<InboundEvent>,
    ) -> Result<bool, Violation> {
        if input[0] != 0xFF {
            return Err(NOT_ZMTP_3);
        }
        let Some(greeting) = input.first_chunk::<GREETING>() else { return Ok(false) };
        events.push(InboundEvent::Greeted(read_greeting(greeting)?));
        output.extend_from_slice(greeting);
        input.advance(GREETING);
        self.state = State::Ready;
        Ok(true)
    }

    /// Passes READY on under the routing id [`ONLY_PEER`]. Returns `false` while bytes are missing.
    ///
    /// Fails for any other frame, and for a socket type that does not fit.
    fn ready(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        events: &mut Vec<InboundEvent>,
    ) -> Result<bool, Violation> {
        let Some(header) = Header::read(input) else { return Ok(false) };
        header.check()?;
        if !header.is_command() {
            return Err("a message came before the handshake");
        }
        if header.len > READY_MAX {
            return Err("the READY command is too long");
        }
        let Some(body) = take_body(input, header) else { return Ok(false) };
        let ready = match read_command(&body)? {
            (b"READY", data) => read_ready(data)?,
            (b"ERROR", _) => return Err(REFUSED),
            _ => return Err("another command came before READY"),
        };
        if !self.kind.accepts(&ready.socket_type) {
            return Err(OTHER_SOCKET_TYPE);
        }
        // The crate gives the connection of one peer to another one with the same identity.
        write_ready(output, &ready.socket_type, ONLY_PEER);
        events.push(InboundEvent::Ready(ready));
        self.state = State::Header;
        Ok(true)
    }

    /// Passes the header of a frame on, or drops the header with its body. Returns `false` while
    /// bytes are missing.
    ///
    /// Fails as soon as the announced sizes of a message exceed the bound, before their bytes
    /// arrive.
    fn header(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        events: &mut Vec<InboundEvent>,
    ) -> Result<bool, Violation> {
        let Some(header) = Header::read(input) else { return Ok(false) };
        header.check()?;
        if header.is_command() {
            return self.command(header, input, output, events);
        }
        let is_first = self.message_size == 0;
        self.message_size = self.message_size.saturating_add(header.len).saturating_add(PART_COST);
        if self.message_size > self.message_max {
            return Err(TOO_LARGE);
        }
        if is_first {
            self.drops = match self.kind {
                // The only messages of a subscriber are its subscriptions.
                SocketKind::XPub => header.has_more() || header.len > FIRST_MAX as u64 + 1,
                kind => !kind.reads(),
            };
        }
        if !header.has_more() {
            self.message_size = 0;
        }
        let head = input.split_to(header.size);
        if !self.drops {
            output.extend_from_slice(&head);
        }
        self.expect_body(header.len, self.drops);
        Ok(true)
    }

    /// Handles a command after the handshake.
    ///
    /// Returns `false` while bytes are missing. No command reaches the crate: subscriptions become
    /// messages, heartbeats become events, and unknown commands are dropped.
    fn command(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        output: &mut BytesMut,
        events: &mut Vec<InboundEvent>,
    ) -> Result<bool, Violation> {
        if header.len > self.message_max {
            return Err("a command is too large");
        }
        if header.len > COMMAND_MAX {
            input.advance(header.size);
            self.expect_body(header.len, true);
            return Ok(true);
        }
        let Some(body) = take_body(input, header) else { return Ok(false) };
        match read_command(&body)? {
            (b"PING", data) => {
                let (tenths, context) =
                    data.split_first_chunk::<2>().ok_or("a heartbeat is too short")?;
                if context.len() > CONTEXT_MAX {
                    return Err("a heartbeat is too long");
                }
                let ttl = Duration::from_millis(100 * u64::from(u16::from_be_bytes(*tenths)));
                events.push(InboundEvent::Ping { ttl, context: body.slice_ref(context) });
            }
            (b"SUBSCRIBE", prefix)
                if self.kind == SocketKind::XPub && prefix.len() <= FIRST_MAX =>
            {
                write_message(output, 1, prefix);
            }
            (b"CANCEL", prefix) if self.kind == SocketKind::XPub && prefix.len() <= FIRST_MAX => {
                write_message(output, 0, prefix);
            }
            (b"ERROR" | b"READY", _) => return Err("a handshake command came after the handshake"),
            // Answers to heartbeats, and commands that other implementations may add.
            _ => {}
        }
        Ok(true)
    }
}

/// Takes a whole frame, and returns its body.
///
/// `None` while bytes are missing; then nothing is taken.
fn take_body(input: &mut BytesMut, header: Header) -> Option<Bytes> {
    let size = header.size + usize::try_from(header.len).ok()?;
    if input.len() < size {
        return None;
    }
    let mut frame = input.split_to(size).freeze();
    frame.advance(header.size);
    Some(frame)
}

#[cfg(fuzzing)]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
