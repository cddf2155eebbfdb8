//! Limits on message count and bytes.

/// A limit on the number of messages, and on their total bytes.
///
/// A publish queue has one for its buffer, and each of its channels another one for unconfirmed
/// messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferBounds {
    /// The most messages.
    pub(crate) messages: usize,
    /// The most bytes of their headers and bodies together.
    pub(crate) bytes: usize,
}

impl BufferBounds {
    /// Returns whether a message of `size` bytes fits in addition to `messages` of `bytes` in
    /// total. A single message always fits, since it could never be sent otherwise.
    ///
    /// `messages` and `bytes` describe the content without the new message. A message that reaches
    /// a limit exactly still fits.
    pub(crate) fn admit(self, messages: usize, bytes: usize, size: usize) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(size) <= self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_are_bounded_and_a_single_message_fits() {
        let bounds = BufferBounds { messages: 2, bytes: 10 };
        assert!(bounds.admit(1, 4, 6));
        assert!(!bounds.admit(1, 4, 7));
        assert!(!bounds.admit(2, 0, 0));
        assert!(bounds.admit(0, 0, 11));
    }
}
