//! How much may be somewhere.

/// The most messages, and the most bytes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Bounds {
    /// Whether one more of so many bytes may join these. One that is alone may be of any size,
    /// since it could not go at all otherwise.
    pub(crate) fn admit(self, messages: usize, bytes: usize, size: usize) -> bool {
        messages == 0 || (messages < self.messages && bytes.saturating_add(size) <= self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_bytes_are_bounded_but_one_always_goes() {
        let bounds = Bounds { messages: 2, bytes: 10 };
        assert!(bounds.admit(1, 4, 6));
        assert!(!bounds.admit(1, 4, 7));
        assert!(!bounds.admit(2, 0, 0));
        assert!(bounds.admit(0, 0, 11));
    }
}
