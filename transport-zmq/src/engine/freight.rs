//! How many bytes lie in the engines for a peer: they count messages only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use polywire_core::Body;
use tokio::sync::Notify;

use crate::wire::Frames;

/// The bytes of messages that were handed to an engine for one peer, and have not left.
///
/// What is counted is the memory itself: each part carries its count along, and takes it back when
/// the engine drops it, because it has written it or because the peer is gone.
pub(crate) struct Freight {
    max: usize,
    bytes: AtomicUsize,
    /// How often some of them have left.
    lightened: AtomicU64,
    /// Tells that there is less than there may be again.
    lighter: Notify,
}

impl Freight {
    /// A message that is smaller than such a part of the bound is not counted: that would cost more
    /// than to pass it on, and engine `omq` holds no more of them than that.
    const LIGHT: usize = 1000;

    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            bytes: AtomicUsize::new(0),
            lightened: AtomicU64::new(0),
            lighter: Notify::new(),
        })
    }

    /// Whether so much lies there that no more is to be handed over. A single message may be as
    /// large as it likes; and since this is asked before a message is counted, each thread may
    /// bring it beyond the bound by one.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) >= self.max
    }

    /// How often it has become lighter. Who asks twice knows whether the peer has read in between.
    pub(crate) fn lightened(&self) -> u64 {
        self.lightened.load(Ordering::Relaxed)
    }

    /// Waits until it is full no more.
    pub(crate) async fn room(&self) {
        loop {
            let lighter = self.lighter.notified();
            tokio::pin!(lighter);
            // Listening before looking.
            lighter.as_mut().enable();
            if !self.is_full() {
                return;
            }
            lighter.await;
        }
    }

    /// Hands a message over counted, or gives it back as it was.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        frames: Frames,
        send: impl FnOnce(Frames) -> Result<(), Frames>,
    ) -> Result<(), Frames> {
        if self.is_light(&frames) {
            return send(frames);
        }
        // Kept, for what is given back must not wait for itself.
        send(self.load(frames.clone())).map_err(|_| frames)
    }

    /// Whether a message is too small to be counted here. It may be handed over however much lies
    /// there.
    pub(super) fn is_light(&self, frames: &Frames) -> bool {
        Self::is_light_for(self.max, frames)
    }

    /// Whether a message is too small to be counted towards such a bound.
    pub(super) fn is_light_for(max: usize, Frames { head, body }: &Frames) -> bool {
        head.len() + body.as_ref().map_or(0, Body::len) < max / Self::LIGHT
    }

    /// The message, counted until the last of its parts is dropped, unless it is light.
    pub(crate) fn load(self: &Arc<Self>, frames: Frames) -> Frames {
        if self.is_light(&frames) {
            return frames;
        }
        let Frames { head, body } = frames;
        let body =
            body.map(|body| Body::from_frames(body.frames().map(|part| self.count(part.clone()))));
        Frames { head: self.count(head), body }
    }

    fn count(self: &Arc<Self>, part: Bytes) -> Bytes {
        if part.is_empty() {
            return part;
        }
        self.bytes.fetch_add(part.len(), Ordering::AcqRel);
        Bytes::from_owner(Counted { part, freight: self.clone() })
    }
}

/// A part of a message, in the hands of an engine.
struct Counted {
    part: Bytes,
    freight: Arc<Freight>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Freight { max, bytes, lightened, lighter } = &*self.freight;
        lightened.fetch_add(1, Ordering::Relaxed);
        let before = bytes.fetch_sub(self.part.len(), Ordering::AcqRel);
        if before >= *max && before - self.part.len() < *max {
            lighter.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn frames(size: usize) -> Frames {
        let body =
            Body::from_frames([vec![1; size / 2].into(), Bytes::new(), vec![2; size / 2].into()]);
        Frames { head: Bytes::new(), body: Some(body) }
    }

    #[test]
    fn what_the_engine_holds_counts_until_it_is_dropped() {
        let freight = Freight::new(10_000);
        let (mut held, message) = (Vec::new(), frames(6_000));
        for _ in 0..2 {
            assert!(!freight.is_full());
            let sent = freight.hand_over(message.clone(), |frames| {
                assert_eq!(frames, message);
                held.push(frames);
                Ok(())
            });
            assert!(sent.is_ok());
        }
        assert!(freight.is_full());
        let mut room = Box::pin(freight.room());
        assert!((&mut room).now_or_never().is_none());
        held.pop();
        assert!(room.now_or_never().is_some());
        assert_eq!(freight.bytes.load(Ordering::Relaxed), 6_000);
        held.clear();
        assert_eq!(freight.bytes.load(Ordering::Relaxed), 0);
        // Two parts each.
        assert_eq!(freight.lightened(), 4);
    }

    #[test]
    fn what_is_given_back_does_not_wait_for_itself() {
        let freight = Freight::new(1_000);
        let back = freight.hand_over(frames(5_000), Err).unwrap_err();
        assert!(!freight.is_full());
        assert_eq!(back, frames(5_000));
    }

    #[test]
    fn what_is_light_is_passed_on_as_it_is() {
        let freight = Freight::new(1_000_000);
        let mut held = Vec::new();
        for (size, is_counted) in [(998, false), (1_000, true)] {
            let sent = freight.hand_over(frames(size), |frames| {
                held.push(frames);
                Ok(())
            });
            assert!(sent.is_ok());
            assert_eq!(freight.bytes.load(Ordering::Relaxed) > 0, is_counted, "{size}");
        }
    }
}
