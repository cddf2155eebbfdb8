//! Content of messages.

use bytes::{Bytes, BytesMut};

use super::first_and_rest::FirstAndRestIter;

/// Content of a message: one or more frames of bytes.
///
/// Clones share the frames. A body of one frame costs no allocation of its own.
///
/// ```
/// use polywire_core::Body;
///
/// let body = Body::from(vec![1, 2, 3]);
/// assert_eq!(body.len(), 3);
/// assert_eq!(&body.into_bytes()[..], [1, 2, 3]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    first: Bytes,
    /// The other frames, if there are any. Boxed, because few bodies have them.
    #[allow(clippy::box_collection, reason = "a message has room for a pointer alone")]
    rest: Option<Box<Vec<Bytes>>>,
}

impl Body {
    /// Creates a body of these frames. No frame at all makes a body of one empty frame.
    pub fn from_frames(frames: impl IntoIterator<Item = Bytes>) -> Self {
        let mut frames = frames.into_iter();
        let first = frames.next().unwrap_or_default();
        let rest: Vec<_> = frames.collect();
        Self { first, rest: (!rest.is_empty()).then(|| Box::new(rest)) }
    }

    /// Iterates over the frames; there is at least one.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        FirstAndRestIter::new(Some(&self.first), self.others())
    }

    /// Returns the frames behind the first.
    fn others(&self) -> &[Bytes] {
        self.rest.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Returns the number of bytes in all frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.others().iter().map(Bytes::len).sum::<usize>()
    }

    /// Returns whether all frames are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all bytes in one piece. One frame is moved; several frames are copied together.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_none() {
            return self.first;
        }
        let mut all = BytesMut::with_capacity(self.len());
        for frame in self.frames() {
            all.extend_from_slice(frame);
        }
        all.freeze()
    }

    /// Returns the bytes as one slice if the body has exactly one frame.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.rest.is_none().then_some(&self.first)
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self { first: bytes.into(), rest: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_their_order_and_borders() {
        let frames = [Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"c")];
        let body = Body::from_frames(frames.clone());
        assert!(body.frames().eq(&frames));
        assert_eq!(body.frames().len(), 3);
        assert_eq!(body.len(), 3);
        assert_eq!(body.as_slice(), None);
        assert_eq!(body.into_bytes(), "abc");
    }

    #[test]
    fn an_empty_body_is_one_empty_frame() {
        for body in [Body::default(), Body::from_frames([])] {
            assert!(body.is_empty());
            assert_eq!(body.frames().len(), 1);
            assert_eq!(body.as_slice(), Some(&b""[..]));
        }
    }
}
