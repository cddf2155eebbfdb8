//! Finds the frames in the bytes from the broker, and checks them.

use crate::connection::broker_version::{BrokerVersion, CurrentVersion};
use crate::connection::confirm_listeners::ConfirmListeners;
use crate::connection::inbound_filter::confirm_frames::ConfirmFrames;
use crate::connection::inbound_filter::fatal_message_search::{
    ConnectionWatch, FatalMessageSearch,
};
use crate::connection::inbound_filter::frame_by_frame_reading::FrameByFrameReading;
use crate::connection::inbound_filter::frame_head::{HEAD, Head};
use crate::connection::inbound_filter::{content_header, method_text_check};

/// The state between two reads.
///
/// Only methods and content headers are looked at. All other frames, bodies above all, pass
/// unchecked and are never copied. A frame to check that is in the buffer as a whole is checked in
/// place; one that is split between two reads is held until it is complete.
pub(super) struct FrameFilter {
    /// Bytes of the current frame that pass unchecked.
    passing: usize,
    /// Bytes of the current frame that are dropped.
    dropping: usize,
    /// The beginning of a frame to check; no longer than `frame_max`.
    held: Vec<u8>,
    /// Checked bytes that were held or rewritten, to be read before anything else.
    ready: Vec<u8>,
    /// Bytes of `ready` that were read.
    read: usize,
    /// Largest frame that the engine accepts, with its head and its end.
    frame_max: usize,
    /// Channels whose next content header belongs to a malformed method, with the reason. The
    /// broker sends the header right behind the method, so there is one entry at most per channel.
    malformed: Vec<(u16, &'static str)>,
    /// Reader of the confirms.
    confirms: ConfirmFrames,
    /// Version that the broker states.
    version: CurrentVersion,
    /// Part in the search for messages over which the engine fails.
    watch: ConnectionWatch,
    /// Set while something is searched.
    careful: Option<FrameByFrameReading>,
    /// Set if content headers pass unchecked.
    is_unchecked: bool,
}

/// The decision on the next bytes.
enum Step {
    /// So many bytes can be read.
    Pass(usize),
    /// More bytes are needed.
    Hold,
    /// So many bytes are replaced by others.
    Replace(usize, Vec<u8>),
}

impl FrameFilter {
    /// Starts at the beginning of a connection, with the largest frame that the engine asks for;
    /// zero leaves the size to the broker.
    pub(super) fn new(frame_max: u32) -> Self {
        Self {
            passing: 0,
            dropping: 0,
            held: Vec::new(),
            ready: Vec::new(),
            read: 0,
            frame_max: bound(frame_max),
            malformed: Vec::new(),
            confirms: ConfirmFrames::default(),
            version: CurrentVersion::default(),
            watch: FatalMessageSearch::default().begin(),
            careful: None,
            is_unchecked: false,
        }
    }

    /// Sets the place for the version that the broker states.
    pub(super) fn with_version(self, version: CurrentVersion) -> Self {
        Self { version, ..self }
    }

    /// Sets the listeners to the confirms of the connection.
    pub(super) fn with_confirms(self, listeners: ConfirmListeners) -> Self {
        Self { confirms: ConfirmFrames::new(listeners), ..self }
    }

    /// Takes part in a search.
    pub(super) fn with_search(self, search: &FatalMessageSearch) -> Self {
        let watch = search.begin();
        Self { careful: FrameByFrameReading::of(&watch), watch, ..self }
    }

    /// Sets whether content headers pass unchecked.
    pub(super) fn unchecked(self, is_unchecked: bool) -> Self {
        Self { is_unchecked, ..self }
    }

    /// Returns how many bytes of `wanted` may be read: no more than the current frame, if the
    /// engine gets one frame at a time. No frame is held.
    pub(super) fn read_limit(&mut self, wanted: usize) -> usize {
        let Some(careful) = &self.careful else { return wanted };
        match self.passing.max(self.dropping) {
            0 if careful.has_ended() => {
                self.careful = None;
                wanted
            }
            0 => wanted.min(HEAD),
            rest => wanted.min(rest),
        }
    }

    /// Returns whether the engine has to handle a frame before it reads on. The next call means
    /// that the engine reads again. All checked bytes were read.
    pub(super) fn pauses(&mut self) -> bool {
        let is_within = self.passing > 0 || self.dropping > 0 || !self.held.is_empty();
        let careful = self.careful.as_mut().filter(|_| !is_within);
        careful.is_some_and(|careful| careful.pauses(&self.watch))
    }

    /// Returns the number of bytes that are held or ready.
    #[cfg(fuzzing)]
    pub(super) fn buffered(&self) -> usize {
        self.held.len() + self.ready.len()
    }

    /// Moves checked bytes into `buffer`. Returns their number; zero if there are none.
    pub(super) fn take_ready(&mut self, buffer: &mut [u8]) -> usize {
        let rest = &self.ready[self.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        if self.read == self.ready.len() {
            self.ready.clear();
            self.read = 0;
        }
        count
    }

    /// Returns the number of bytes that the held frame lacks; `None` if no frame is held. They are
    /// to be handed to [`complete`](Self::complete).
    pub(super) fn lacking(&self) -> Option<usize> {
        if self.held.is_empty() {
            return None;
        }
        let head = Head::of(&self.held);
        let needed = head.map_or(HEAD, |head| self.needed(&head));
        Some(needed.saturating_sub(self.held.len()).max(1))
    }

    /// Adds bytes to the held frame. All other bytes must have been read before.
    pub(super) fn complete(&mut self, bytes: &[u8]) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        self.scan_to_ready(&mut held);
    }

    /// Checks the bytes that were read into `buffer`. Returns how many at its beginning can be read
    /// from there. The others are held or ready.
    pub(super) fn scan(&mut self, buffer: &mut [u8]) -> usize {
        let mut at = 0;
        while at < buffer.len() {
            match self.step(&mut buffer[at..]) {
                Step::Pass(count) => at += count,
                Step::Hold => {
                    self.held.extend_from_slice(&buffer[at..]);
                    return at;
                }
                Step::Replace(count, bytes) => {
                    self.ready.extend(bytes);
                    self.scan_to_ready(&mut buffer[at + count..]);
                    return at;
                }
            }
        }
        at
    }

    /// Checks bytes that are read from `ready`.
    fn scan_to_ready(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            match self.step(&mut bytes[at..]) {
                Step::Pass(count) => {
                    self.ready.extend_from_slice(&bytes[at..at + count]);
                    at += count;
                }
                Step::Hold => return self.held.extend_from_slice(&bytes[at..]),
                Step::Replace(count, rewritten) => {
                    self.ready.extend(rewritten);
                    at += count;
                }
            }
        }
    }

    /// Decides on the bytes at the beginning of `bytes`, of which there is at least one.
    fn step(&mut self, bytes: &mut [u8]) -> Step {
        if self.passing > 0 {
            let count = self.passing.min(bytes.len());
            self.passing -= count;
            return Step::Pass(count);
        }
        if self.dropping > 0 {
            let count = self.dropping.min(bytes.len());
            self.dropping -= count;
            return Step::Replace(count, Vec::new());
        }
        let Some(head) = Head::of(bytes) else { return Step::Hold };
        let is_method = head.kind == METHOD && head.size >= 4;
        if !is_method && head.kind != CONTENT_HEADER {
            self.note_other(&head);
            self.passing = head.total;
            return self.step(bytes);
        }
        let is_too_large = head.total > self.frame_max;
        if bytes.len() < self.needed(&head) {
            // Without the id of the method, it is not known whether to check the method.
            let id = bytes.get(HEAD..HEAD + 4);
            let is_unchecked = is_method
                && (is_too_large
                    || id.is_some_and(|id| !is_checked(&head, [id[0], id[1], id[2], id[3]])));
            if !is_unchecked {
                return Step::Hold;
            }
            self.note_other(&head);
            self.passing = head.total;
            return self.step(bytes);
        }
        if is_method {
            if let Some(careful) = &mut self.careful {
                careful.method(&self.watch, head.channel, &bytes[HEAD..head.total - 1]);
            }
            if !is_too_large {
                self.check_method(&head, &mut bytes[HEAD..head.total - 1]);
            }
            self.passing = head.total;
            return self.step(bytes);
        }
        if is_too_large && head.size > content_header::CLASS_AND_SIZE {
            let taken = HEAD + content_header::CLASS_AND_SIZE;
            self.take_malformed(head.channel);
            self.dropping = head.total - taken;
            return Step::Replace(
                taken,
                head.frame(&content_header::too_large(&bytes[HEAD..taken])),
            );
        }
        let method = self.take_malformed(head.channel);
        let payload = &mut bytes[HEAD..head.total - 1];
        self.confirms.header(head.channel, payload);
        if let Some(careful) = &mut self.careful
            && let Some(replaced) = careful.header(&self.watch, head.channel, payload)
        {
            return Step::Replace(head.total, head.frame(&replaced));
        }
        if self.is_unchecked {
            return Step::Pass(head.total);
        }
        match content_header::check(payload, method) {
            None => Step::Pass(head.total),
            Some(payload) => {
                let mut frame = head.frame(&payload);
                if frame.len() > self.frame_max {
                    let start = &bytes[HEAD..HEAD + content_header::CLASS_AND_SIZE];
                    frame = head.frame(&content_header::too_large(start));
                }
                Step::Replace(head.total, frame)
            }
        }
    }

    /// Notes a frame that passes unchecked.
    fn note_other(&mut self, head: &Head) {
        if let Some(careful) = &mut self.careful {
            careful.other(&self.watch, head.channel, head.size);
        }
    }

    /// Returns the bytes that a decision on a frame needs.
    fn needed(&self, head: &Head) -> usize {
        match head.kind {
            CONTENT_HEADER if head.total > self.frame_max => {
                head.total.min(HEAD + content_header::CLASS_AND_SIZE)
            }
            METHOD | CONTENT_HEADER => head.total,
            _ => HEAD,
        }
    }

    /// Checks a method, and notes a fault for the content header that follows.
    fn check_method(&mut self, head: &Head, payload: &mut [u8]) {
        if head.channel == 0
            && let [0, 10, 0, 30, _, _, a, b, c, d, ..] = *payload
        {
            self.tune(u32::from_be_bytes([a, b, c, d]));
        } else if head.channel == 0 && payload.starts_with(&START) {
            if let Some(version) = BrokerVersion::in_start(payload) {
                self.version.set(version);
            }
        } else if head.channel == 0 && payload.starts_with(&CLOSE) {
            self.watch.close_by_broker();
            method_text_check::check(payload);
        } else if let Some(fault) = method_text_check::check(payload) {
            self.take_malformed(head.channel);
            self.malformed.push((head.channel, fault));
        } else {
            self.confirms.method(head.channel, payload);
        }
    }

    /// Learns the broker's largest frame. The engine takes the smaller one, as long as it is set.
    fn tune(&mut self, frame_max: u32) {
        if frame_max != 0 {
            self.frame_max = self.frame_max.min(bound(frame_max.max(FRAME_MIN)));
        }
    }

    /// Returns the fault of the method before a content header.
    fn take_malformed(&mut self, channel: u16) -> Option<&'static str> {
        let at = self.malformed.iter().position(|(malformed, _)| *malformed == channel)?;
        Some(self.malformed.swap_remove(at).1)
    }
}

/// Returns whether a method is checked.
fn is_checked(head: &Head, id: [u8; 4]) -> bool {
    method_text_check::has_texts(id)
        || ConfirmFrames::is_confirm(id)
        || (head.channel == 0 && [START, TUNE].contains(&id))
}

/// Returns the bound of the held bytes. Without a bound of the engine, 1 MiB.
fn bound(frame_max: u32) -> usize {
    match frame_max {
        0 => UNBOUNDED,
        max => usize::try_from(max.max(FRAME_MIN)).unwrap_or(UNBOUNDED).min(UNBOUNDED),
    }
}

const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
/// Class and number of `connection.start`.
const START: [u8; 4] = [0, 10, 0, 10];
/// Class and number of `connection.close`.
const CLOSE: [u8; 4] = [0, 10, 0, 50];
/// Class and number of `connection.tune`.
const TUNE: [u8; 4] = [0, 10, 0, 30];
/// Smallest maximum of AMQP.
const FRAME_MIN: u32 = 4096;
/// Largest content header if neither side limits its frames.
const UNBOUNDED: usize = 1 << 20;
