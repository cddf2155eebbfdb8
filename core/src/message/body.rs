//! Content of messages.

use bytes::{Bytes, BytesMut};

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
    rest: Vec<Bytes>,
}

impl Body {
    /// Creates a body of these frames. No frame at all makes a body of one empty frame.
    pub fn from_frames(frames: impl IntoIterator<Item = Bytes>) -> Self {
        let mut frames = frames.into_iter();
        Self { first: frames.next().unwrap_or_default(), rest: frames.collect() }
    }

    /// Iterates over the frames; there is at least one.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        Frames { first: Some(&self.first), rest: self.rest.iter() }
    }

    /// Returns the number of bytes in all frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames().map(Bytes::len).sum()
    }

    /// Returns whether all frames are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all bytes in one piece. One frame is moved; several frames are copied together.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() {
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
        self.rest.is_empty().then_some(&self.first)
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self { first: bytes.into(), rest: Vec::new() }
    }
}

struct Frames<'a> {
    first: Option<&'a Bytes>,
    rest: std::slice::Iter<'a, Bytes>,
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a Bytes;

    fn next(&mut self) -> Option<&'a Bytes> {
        self.first.take().or_else(|| self.rest.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rest.len() + usize::from(self.first.is_some());
        (left, Some(left))
    }
}

impl ExactSizeIterator for Frames<'_> {}

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
