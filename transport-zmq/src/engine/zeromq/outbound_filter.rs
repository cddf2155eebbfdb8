//! The filter of the bytes that a socket of the crate sends: counts messages, and adds heartbeats
//! between them. No I/O.
//!
//! The filter sets the minor version in the greeting to 1: the relay adds the commands of [ZMTP
//! 3.1](https://rfc.zeromq.org/spec/37/) that the crate lacks.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

use super::socket_kind::SocketKind;
use super::zmtp::{GREETING, Header, MINOR_AT, write_command};

/// The state of one connection, as far as the bytes to the peer go.
#[derive(Debug)]
pub(super) struct OutboundFilter {
    /// The type of the socket on this side: XSUB turns its messages into commands.
    kind: SocketKind,
    state: State,
    /// Set after the READY command, when other commands may be sent.
    is_ready: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// The next frame, and whether it begins a message.
    Header {
        begins: bool,
    },
    /// Bytes of the current frame that are still to come, and whether it ends its message.
    Body {
        left: u64,
        is_last: bool,
        is_command: bool,
    },
}

impl OutboundFilter {
    /// Creates the filter of a new connection.
    pub(super) fn new(kind: SocketKind) -> Self {
        Self { kind, state: State::Greeting, is_ready: false }
    }

    /// Returns whether a command may be added here.
    ///
    /// False before the READY command has passed. A command inside of a message would be malformed.
    pub(super) fn is_between_messages(&self) -> bool {
        self.is_ready && matches!(self.state, State::Header { begins: true })
    }

    /// Moves bytes from `input` to the empty `output`, those for the peer, and `commands` as soon
    /// as the peer may get them. Returns the position in `output` of the end of each message.
    ///
    /// Subscriptions become commands for a peer of version 3.1 or later.
    ///
    /// `minor` is the minor version of the peer. Bytes of an incomplete greeting, header or
    /// subscription stay in `input`. The bytes of the crate are trusted.
    pub(super) fn feed(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
        commands: &mut BytesMut,
        minor: u8,
    ) -> VecDeque<usize> {
        let mut ends = VecDeque::new();
        loop {
            if self.is_between_messages() && !commands.is_empty() {
                output.extend_from_slice(&commands.split());
            }
            match self.state {
                State::Greeting if input.len() >= GREETING => {
                    let mut greeting = input.split_to(GREETING);
                    // The relay adds what the crate lacks of version 3.1.
                    greeting[MINOR_AT] = 1;
                    output.extend_from_slice(&greeting);
                    self.state = State::Header { begins: true };
                }
                State::Header { .. } => {
                    let Some(header) = Header::read(input) else { break };
                    if self.kind == SocketKind::XSub && !header.is_command() && minor >= 1 {
                        let Some(subscription) = take_subscription(input, header) else { break };
                        write_subscription(output, &subscription);
                        ends.push_back(output.len());
                        self.state = State::Header { begins: true };
                        continue;
                    }
                    output.extend_from_slice(&input.split_to(header.size));
                    let (is_last, is_command) = (!header.has_more(), header.is_command());
                    if self.expect_body(header.len, is_last, is_command) {
                        ends.push_back(output.len());
                    }
                }
                State::Body { left, is_last, is_command } if !input.is_empty() => {
                    let part = input
                        .split_to(input.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                    output.extend_from_slice(&part);
                    if self.expect_body(left - part.len() as u64, is_last, is_command) {
                        ends.push_back(output.len());
                    }
                }
                State::Greeting | State::Body { .. } => break,
            }
        }
        ends
    }

    /// Sets the state for the bytes of a frame that are still to come. Returns whether a message
    /// has ended.
    fn expect_body(&mut self, left: u64, is_last: bool, is_command: bool) -> bool {
        if left > 0 {
            self.state = State::Body { left, is_last, is_command };
            return false;
        }
        self.state = State::Header { begins: is_last };
        self.is_ready |= is_command;
        is_last && !is_command
    }
}

/// Takes a whole frame, and returns its body.
fn take_subscription(input: &mut BytesMut, header: Header) -> Option<BytesMut> {
    let size = header.size + usize::try_from(header.len).ok()?;
    let mut frame = (input.len() >= size).then(|| input.split_to(size))?;
    frame.advance(header.size);
    Some(frame)
}

/// Writes a subscription as a command.
///
/// The first byte is 1 for SUBSCRIBE and 0 for CANCEL, as in ZMTP 3.0.
fn write_subscription(output: &mut BytesMut, subscription: &[u8]) {
    match subscription.split_first() {
        Some((1, prefix)) => write_command(output, b"SUBSCRIBE", prefix),
        Some((0, prefix)) => write_command(output, b"CANCEL", prefix),
        // This engine sends nothing else from an XSUB socket.
        _ => {}
    }
}

#[cfg(test)]
mod tests;
