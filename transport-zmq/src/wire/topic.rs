//! The first frame of what is published: the channel, a zero byte, the topic. A subscription is a
//! prefix of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use polywire_core::{Address, Error, ErrorKind, Filter, Result};

/// A channel, as the first frame names it. No address holds a zero byte, so that no channel is the
/// prefix of another.
#[derive(Clone, Debug)]
pub(crate) struct Channel(Arc<[u8]>);

impl Channel {
    pub(crate) fn new(name: &Address) -> Self {
        Self([name.as_str().as_bytes(), &[END]].concat().into())
    }

    /// The first frame of what is published under this topic.
    pub(crate) fn frame(&self, topic: &Address) -> Bytes {
        self.with(topic.as_str())
    }

    /// What the first frame of everything that the filter wants begins with.
    pub(crate) fn prefix(&self, filter: &Filter) -> Bytes {
        self.with(filter.prefix())
    }

    fn with(&self, rest: &str) -> Bytes {
        [&self.0, rest.as_bytes()].concat().into()
    }

    /// The topic that a first frame names; `None` if it is of another channel.
    pub(crate) fn topic(&self, frame: &Bytes) -> Option<Result<Address>> {
        let topic = frame.strip_prefix(&*self.0)?;
        Some(Address::from_bytes(frame.slice_ref(topic)).map_err(|error| {
            Error::new(ErrorKind::Codec, "the first frame holds no topic").with_source(error)
        }))
    }
}

/// After the name of a channel, and before that of a hello.
const END: u8 = 0;

/// A topic of no channel, which a subscriber subscribes to after all others and a publisher answers
/// on: when the answer comes, that publisher has taken in what was subscribed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello(Bytes);

impl Hello {
    /// One that nobody else uses.
    pub(crate) fn fresh() -> Self {
        Self([HELLO, &unique()].concat().into())
    }

    /// The hello that a frame or a subscription is.
    pub(crate) fn read(frame: &Bytes) -> Option<Self> {
        (frame.len() == HELLO.len() + UNIQUE && frame.starts_with(HELLO))
            .then(|| Self(frame.clone()))
    }

    pub(crate) fn frame(&self) -> &Bytes {
        &self.0
    }

    /// The second frame of an answer: who answers, and how many of its connections the hello came
    /// from, each of which gets the answer.
    pub(crate) fn answer(publisher: &[u8; UNIQUE], connections: u32) -> Bytes {
        [&publisher[..], &connections.to_be_bytes()].concat().into()
    }

    /// Who answers, and for how many connections.
    pub(crate) fn read_answer(frame: &[u8]) -> Option<([u8; UNIQUE], u32)> {
        let (publisher, connections) = frame.split_first_chunk::<UNIQUE>()?;
        let connections = u32::from_be_bytes(connections.try_into().ok()?);
        Some((*publisher, connections))
    }
}

/// Begins with a zero byte, as no channel does.
const HELLO: &[u8] = b"\0hello\0";

/// The bytes that tell one end from all others.
pub(crate) const UNIQUE: usize = 16;

/// Bytes that no other process comes up with, and this one only once.
pub(crate) fn unique() -> [u8; UNIQUE] {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // The only source of randomness in the standard library: the keys of its hash maps.
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        use std::hash::{BuildHasher, RandomState};

        RandomState::new().hash_one(std::process::id())
    });
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    (u128::from(*PROCESS) << 64 | u128::from(number)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Channel {
        Channel::new(&Address::new("weather").unwrap())
    }

    #[test]
    fn what_a_filter_wants_has_its_prefix_and_its_channel() {
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
    fn strange_first_frames_are_no_topics() {
        assert!(channel().topic(&Bytes::from_static(b"weather")).is_none());
        assert!(channel().topic(&Bytes::from_static(b"weather2\0a")).is_none());
        assert!(channel().topic(&Bytes::from_static(b"")).is_none());
        for topic in [&b"weather\0"[..], b"weather\0a..b", b"weather\0\xff"] {
            let error = channel().topic(&Bytes::from_static(topic)).unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec);
        }
    }

    #[test]
    fn hellos_are_told_apart_and_from_strangers() {
        let (one, other) = (Hello::fresh(), Hello::fresh());
        assert_ne!(one, other);
        assert_eq!(Hello::read(one.frame()), Some(one.clone()));
        assert!(channel().topic(one.frame()).is_none());
        for frame in [&b""[..], b"\0hello\0", b"\0hello\0abc", b"weather\0a"] {
            assert_eq!(Hello::read(&Bytes::from_static(frame)), None);
        }
        let answer = Hello::answer(&[7; UNIQUE], 3);
        assert_eq!(Hello::read_answer(&answer), Some(([7; UNIQUE], 3)));
        for frame in [&b""[..], &answer[1..], &[&answer[..], b"x"].concat()] {
            assert_eq!(Hello::read_answer(frame), None);
        }
    }
}
