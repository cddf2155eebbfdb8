//! Reading of one frame at a time, so that the frame over which the engine fails is known.

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::connection::inbound_filter::content_header;
use crate::connection::inbound_filter::fatal_message_search::{
    ConnectionWatch, FatalCandidate, MessageKey, Treatment,
};

/// State of a connection that is read carefully.
///
/// The frame filter owns the state, and calls one method for each frame, in the order of the
/// stream. Careful reading ends when the time has passed and no delivery is incomplete.
pub(super) struct FrameByFrameReading {
    /// Messages to take aside. Copied when the connection begins: a later finding concerns the next
    /// connection.
    taken: Vec<FatalCandidate>,
    /// End of careful reading.
    until: Instant,
    /// Deliveries that are not complete yet, by channel. The broker completes one before the next
    /// on its channel.
    deliveries: FxHashMap<u16, Delivered>,
    /// Message that is complete, once the engine has survived the last frame.
    complete: Option<MessageKey>,
    pause: Pause,
}

/// The pause after a frame of a message, in which the engine handles the frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    None,
    /// The engine has not read the whole frame yet.
    Due,
    /// The latest read of the engine has found nothing.
    Waiting,
}

/// A delivery that is not complete.
struct Delivered {
    key: MessageKey,
    is_redelivered: bool,
    /// Bytes of the body that are still to come.
    remaining: u64,
}

impl FrameByFrameReading {
    /// Starts at the beginning of a connection; `None` if nothing is searched.
    pub(super) fn of(watch: &ConnectionWatch) -> Option<Self> {
        let (taken, until) = watch.careful()?;
        let deliveries = FxHashMap::default();
        Some(Self { taken, until, deliveries, complete: None, pause: Pause::None })
    }

    /// Returns whether it may end at the next beginning of a frame.
    pub(super) fn has_ended(&self) -> bool {
        self.deliveries.is_empty() && self.pause == Pause::None && Instant::now() >= self.until
    }

    /// Notes a method.
    ///
    /// A method ends the incomplete delivery on its channel. `basic.deliver` begins the next one.
    pub(super) fn method(&mut self, watch: &ConnectionWatch, channel: u16, payload: &[u8]) {
        self.deliveries.remove(&channel);
        let Some((tag, is_redelivered)) = delivery(payload) else { return watch.enter(None) };
        let key = MessageKey { queue: tag.into(), fingerprint: None };
        watch.enter(Some(key.clone()));
        self.deliveries.insert(channel, Delivered { key, is_redelivered, remaining: 0 });
        self.pause = Pause::Due;
    }

    /// Notes a content header. Returns the payload in its place, if the message is taken aside.
    ///
    /// A content header without a delivery before it passes, as that of a returned message does. A
    /// delivery is replaced only if the broker marks it as redelivered.
    pub(super) fn header(
        &mut self,
        watch: &ConnectionWatch,
        channel: u16,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let Some(delivered) = self.deliveries.get_mut(&channel) else {
            watch.enter(None);
            return None;
        };
        self.pause = Pause::Due;
        let key = &mut delivered.key;
        key.fingerprint = Some(content_header::fingerprint(payload));
        watch.enter(Some(key.clone()));
        delivered.remaining = content_header::body_size(payload);
        let is_taken = |suspect: &&FatalCandidate| delivered.is_redelivered && suspect.key == *key;
        let replaced = self.taken.iter().find(is_taken).and_then(|suspect| {
            let keeps_texts = match suspect.treatment {
                Treatment::WithoutHeaders => true,
                Treatment::WithoutProperties => false,
                Treatment::Pass | Treatment::Impossible => return None,
            };
            Some(content_header::replaced(payload, &suspect.cause, keeps_texts))
        });
        self.complete_if(channel);
        replaced
    }

    /// Notes a frame that is no method and no content header, with the size of its payload.
    pub(super) fn other(&mut self, watch: &ConnectionWatch, channel: u16, size: usize) {
        let Some(delivered) = self.deliveries.get_mut(&channel) else { return watch.enter(None) };
        self.pause = Pause::Due;
        watch.enter(Some(delivered.key.clone()));
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        delivered.remaining = delivered.remaining.saturating_sub(size);
        self.complete_if(channel);
    }

    /// Moves a delivery without a rest to the complete one.
    fn complete_if(&mut self, channel: u16) {
        if self.deliveries.get(&channel).is_some_and(|delivered| delivered.remaining == 0) {
            self.complete = self.deliveries.remove(&channel).map(|delivered| delivered.key);
        }
    }

    /// Returns whether the engine must handle the last frame, which it has read, before it gets
    /// another one. The next call means that the engine reads again, and so has survived the frame.
    pub(super) fn pauses(&mut self, watch: &ConnectionWatch) -> bool {
        match self.pause {
            Pause::None => false,
            Pause::Due => {
                self.pause = Pause::Waiting;
                true
            }
            Pause::Waiting => {
                self.pause = Pause::None;
                watch.enter(None);
                if let Some(key) = self.complete.take() {
                    watch.clear(&key);
                }
                false
            }
        }
    }
}

/// Returns the consumer tag of a delivery, and whether it is a redelivery; `None` for another
/// method.
///
/// In AMQP 0-9-1, the arguments of `basic.deliver` begin with a short string, the consumer tag. The
/// delivery tag of 8 bytes and the byte of the flag follow.
fn delivery(payload: &[u8]) -> Option<(&[u8], bool)> {
    let arguments = payload.strip_prefix(&DELIVER)?;
    let (length, rest) = arguments.split_first()?;
    let (tag, rest) = rest.split_at_checked(usize::from(*length))?;
    // The delivery tag, then the flag.
    Some((tag, *rest.get(8)? != 0))
}

/// Class and number of `basic.deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
