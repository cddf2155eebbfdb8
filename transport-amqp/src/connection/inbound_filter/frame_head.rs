//! The head of a frame.

/// The type, the channel and the size of a frame.
///
/// AMQP 0-9-1 defines the layout in section 4.2.3, the general frame format.
pub(in crate::connection) struct Head {
    /// The type: 1 for a method, 2 for a content header, 3 for a body, 8 for a heartbeat.
    pub(in crate::connection) kind: u8,
    pub(in crate::connection) channel: u16,
    /// Bytes of the payload.
    pub(in crate::connection) size: usize,
    /// Bytes of the head, the payload, and the end of the frame.
    pub(in crate::connection) total: usize,
}

impl Head {
    /// Parses the head at the beginning of `bytes`; `None` if it is not complete.
    ///
    /// The size comes from the peer, unchecked. The caller compares it with its own bound.
    pub(in crate::connection) fn of(bytes: &[u8]) -> Option<Self> {
        let [kind, c, d, s, t, u, v] = *bytes.first_chunk::<HEAD>()?;
        let size = usize::try_from(u32::from_be_bytes([s, t, u, v])).unwrap_or(usize::MAX / 2);
        let channel = u16::from_be_bytes([c, d]);
        Some(Self { kind, channel, size, total: HEAD.saturating_add(size).saturating_add(1) })
    }

    /// Returns a frame with this head and another payload.
    pub(in crate::connection) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![self.kind];
        frame.extend(self.channel.to_be_bytes());
        frame.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend(payload);
        frame.push(FRAME_END);
        frame
    }
}

/// The last byte of each frame.
const FRAME_END: u8 = 0xce;
/// Bytes of a frame's head: its type, its channel, and the size of its payload.
pub(in crate::connection) const HEAD: usize = 7;
