//! The first frame of an event: the channel, a zero byte, the topic. A subscription is a prefix of
//! that frame.
//!
//! The engine matches subscriptions against the first frame by prefix. A filter with a wildcard is
//! therefore subscribed to by the part before the wildcard, and core drops the events that match
//! the prefix but not the filter.

use std::sync::Arc;

use bytes::Bytes;
use polywire_core::{Address, Error, ErrorKind, Filter, Result};

/// A channel, as the first frame names it. No address holds a zero byte, so no channel is a prefix
/// of another.
#[derive(Clone, Debug)]
pub(crate) struct Channel(Arc<[u8]>);

impl Channel {
    /// Makes the channel of this name.
    pub(crate) fn new(name: &Address) -> Self {
        Self([name.as_str().as_bytes(), &[END]].concat().into())
    }

    /// Returns the first frame of an event of this topic.
    pub(crate) fn frame(&self, topic: &Address) -> Bytes {
        self.with(topic.as_str())
    }

    /// Returns the beginning of the first frame of every event that matches the filter.
    pub(crate) fn prefix(&self, filter: &Filter) -> Bytes {
        self.with(filter.prefix())
    }

    /// Appends a topic or a part of one to the channel and its zero byte.
    fn with(&self, rest: &str) -> Bytes {
        [&self.0, rest.as_bytes()].concat().into()
    }

    /// Reads the topic from a first frame. Returns `None` for a frame of another channel.
    ///
    /// # Errors
    ///
    /// `Codec` if the rest of the frame is no valid address.
    pub(crate) fn topic(&self, frame: &Bytes) -> Option<Result<Address>> {
        let topic = frame.strip_prefix(&*self.0)?;
        Some(Address::from_bytes(frame.slice_ref(topic)).map_err(|error| {
            Error::new(ErrorKind::Codec, "cannot decode the first frame: it holds no valid topic")
                .with_source(error)
        }))
    }
}

/// The byte after the name of a channel.
const END: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel::new(&Address::new("weather").unwrap())
    }

    #[test]
    fn matching_first_frame_begins_with_channel_and_prefix() {
        let topic = Address::new("paris.wind").unwrap();
        let frame = channel().frame(&topic);
        assert_eq!(&frame[..], b"weather\0paris.wind");
        for filter in ["#", "paris.*", "paris.wind", "paris.#"] {
            assert!(
                frame.starts_with(&channel().prefix(&Filter::new(filter).unwrap())),
                "{filter}"
            );
        }
        assert_eq!(channel().topic(&frame).unwrap().unwrap(), topic);
    }

    #[test]
    fn malformed_first_frames_are_no_topics() {
        assert!(channel().topic(&Bytes::from_static(b"weather")).is_none());
        assert!(channel().topic(&Bytes::from_static(b"weather2\0a")).is_none());
        assert!(channel().topic(&Bytes::from_static(b"")).is_none());
        for topic in [&b"weather\0"[..], b"weather\0a..b", b"weather\0\xff"] {
            let error = channel().topic(&Bytes::from_static(topic)).unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
        }
    }
}
