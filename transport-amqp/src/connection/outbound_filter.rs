//! Outbound frames of closed channels, dropped before the broker reads them.
//!
//! The engine writes the method that closes a channel before the messages that wait to be published
//! on that channel. To RabbitMQ, a frame of a closed channel is an error of the whole connection
//! (504, `CHANNEL_ERROR - expected 'channel.open'`), and the calls of all channels fail. The
//! outcome of a dropped message is the one of all unconfirmed messages of its channel.

use std::io::IoSlice;

use rustc_hash::FxHashMap;

use crate::connection::inbound_filter::frame_head::{HEAD, Head};

/// A filter of the frames that the engine writes.
///
/// Holds no bytes: the stream asks for the next [run](Self::next_run) of bytes with one verdict,
/// writes or skips them, and reports the bytes that are done. The engine writes whole frames. If it
/// does not, the filter loses its place, and from then on lets everything pass.
#[derive(Debug, Default)]
pub(super) struct OutboundFilter {
    /// Bytes of the current frame that are not done yet.
    rest: usize,
    /// Set if these bytes are dropped.
    is_dropped: bool,
    /// The channels that are not open. Bounded by the channels of the connection.
    channels: FxHashMap<u16, Lifecycle>,
    /// Set when the place in the stream is lost.
    is_off: bool,
}

/// The state of a channel that is not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lifecycle {
    /// Either side has closed the channel.
    Closed,
    /// The number is in use again. Messages and settlements that were meant for the channel before
    /// may still come. A new channel begins with another method.
    Opening,
}

/// Bytes with one verdict.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Run {
    /// The number of bytes.
    pub(super) count: usize,
    /// Set if the bytes are dropped.
    pub(super) is_dropped: bool,
}

/// A frame at its first byte.
struct Frame {
    total: usize,
    is_dropped: bool,
    /// The channel that changes with this frame, and its new state; `None` for an open channel.
    change: Option<(u16, Option<Lifecycle>)>,
}

impl OutboundFilter {
    /// Returns the longest run of bytes at the beginning that are all written or all dropped.
    ///
    /// A run ends behind a frame that changes the state of a channel. Empty only without bytes.
    pub(super) fn next_run(&self, bytes: &[IoSlice<'_>]) -> Run {
        let all = bytes.iter().map(|part| part.len()).sum::<usize>();
        let (mut count, mut is_dropped, mut is_last) = (self.rest, self.is_dropped, false);
        if self.is_off {
            return Run { count: all, is_dropped: false };
        }
        while count < all && !is_last {
            let Some(frame) = self.frame(bytes, count) else {
                // The rest of an incomplete head is not here. Without a frame in front of it, the
                // place is lost.
                count = if count == 0 { all } else { count };
                break;
            };
            if count > 0 && frame.is_dropped != is_dropped {
                break;
            }
            (count, is_dropped) = (count.saturating_add(frame.total), frame.is_dropped);
            is_last = frame.change.is_some();
        }
        Run { count: count.min(all), is_dropped }
    }

    /// Notes that the first `count` of these bytes were written or dropped.
    pub(super) fn advance(&mut self, bytes: &[IoSlice<'_>], count: usize) {
        let mut done = 0;
        while done < count && !self.is_off {
            if self.rest == 0 {
                let Some(frame) = self.frame(bytes, done) else {
                    self.is_off = true;
                    tracing::warn!("cannot filter the frames of an engine: a frame is not whole");
                    return;
                };
                (self.rest, self.is_dropped) = (frame.total, frame.is_dropped);
                match frame.change {
                    Some((channel, Some(state))) => _ = self.channels.insert(channel, state),
                    Some((channel, None)) => _ = self.channels.remove(&channel),
                    None => {}
                }
            }
            let step = self.rest.min(count - done);
            self.rest -= step;
            done += step;
        }
    }

    /// Returns the frame at this offset; `None` if its head is not complete, or no head.
    fn frame(&self, bytes: &[IoSlice<'_>], offset: usize) -> Option<Frame> {
        let mut start = [0; HEAD + METHOD];
        let (mut length, mut skipped) = (0, offset);
        for part in bytes {
            let rest = part.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(part.len());
            let count = rest.len().min(start.len() - length);
            start[length..length + count].copy_from_slice(&rest[..count]);
            length += count;
        }
        self.judge(&start[..length])
    }

    /// Returns the frame that begins with these bytes, up to eleven of them.
    fn judge(&self, start: &[u8]) -> Option<Frame> {
        let passes = |total| Some(Frame { total, is_dropped: false, change: None });
        if start.starts_with(PROTOCOL) {
            return passes(PROTOCOL.len() + 4);
        }
        let Head { kind, channel, total, .. } = Head::of(start)?;
        let state = self.channels.get(&channel).copied();
        let is_closed = state.is_some();
        match kind {
            METHOD_FRAME => {
                let [class_high, class, method_high, method] =
                    *start.get(HEAD..)?.first_chunk::<METHOD>()?;
                let (class, method) = (
                    u16::from_be_bytes([class_high, class]),
                    u16::from_be_bytes([method_high, method]),
                );
                let change = match (class, method) {
                    (CHANNEL, OPEN) if is_closed => Some((channel, Some(Lifecycle::Opening))),
                    (CHANNEL, CLOSE | CLOSE_OK) => Some((channel, Some(Lifecycle::Closed))),
                    (CHANNEL, _) | (BASIC, PUBLISH | ACK | REJECT | NACK) => None,
                    _ if state == Some(Lifecycle::Opening) => Some((channel, None)),
                    _ => None,
                };
                let is_dropped = is_closed && class != CHANNEL && change.is_none();
                Some(Frame { total, is_dropped, change })
            }
            HEADER_FRAME | BODY_FRAME => Some(Frame { total, is_dropped: is_closed, change: None }),
            HEARTBEAT_FRAME => passes(total),
            _ => None,
        }
    }
}

/// The beginning of the engine's first bytes, which are no frame. Four numbers follow.
const PROTOCOL: &[u8] = b"AMQP";
/// Bytes of the class and the method in a method frame.
const METHOD: usize = 4;

const METHOD_FRAME: u8 = 1;
const HEADER_FRAME: u8 = 2;
const BODY_FRAME: u8 = 3;
const HEARTBEAT_FRAME: u8 = 8;

const CHANNEL: u16 = 20;
const OPEN: u16 = 10;
const CLOSE: u16 = 40;
const CLOSE_OK: u16 = 41;

const BASIC: u16 = 60;
const PUBLISH: u16 = 40;
const ACK: u16 = 80;
const REJECT: u16 = 90;
const NACK: u16 = 120;

#[cfg(test)]
mod tests;
