//! Windows: the bound on unsettled deliveries.

use std::num::NonZeroUsize;

/// Maximum number of unsettled deliveries of an endpoint handle: the prefetch of AMQP, the
/// high-water mark of ZeroMQ.
///
/// Without [`settlement`](super::Capabilities::settlement), the window bounds what a handle
/// fetches in advance, beside the buffers of the network.
///
/// The window is the backpressure of a server. Further requests wait at the source, where another
/// server may receive them. The default is 128 messages.
///
/// ```
/// use polywire_core::Window;
///
/// assert_eq!(Window::default().messages(), 128);
/// assert_eq!(Window::new(0).messages(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(NonZeroUsize);

impl Window {
    /// Largest window: 65,535 messages, the maximum of AMQP's 16-bit prefetch.
    pub const MAX: usize = u16::MAX as usize;

    /// Creates a window of this many messages, clamped to 1 … [`Window::MAX`].
    #[must_use]
    pub const fn new(messages: usize) -> Self {
        let clamped = if messages > Self::MAX { Self::MAX } else { messages };
        match NonZeroUsize::new(clamped) {
            Some(messages) => Self(messages),
            None => Self(NonZeroUsize::MIN),
        }
    }

    /// Returns the number of messages.
    #[must_use]
    pub const fn messages(self) -> usize {
        self.0.get()
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new(128)
    }
}
