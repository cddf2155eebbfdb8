//! The size of a run.

/// The number of hostile peers, messages and bytes in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Malformed greetings, handshakes and frames.
    pub(crate) malformed: usize,
    /// The same, one every 10 milliseconds, so that the generator leaves the processors to the
    /// server.
    pub(crate) paced: usize,
    /// Bytes of a message whose frames never end.
    pub(crate) endless_bytes: usize,
    /// Connections that finish their handshake and stay.
    pub(crate) flood: usize,
    /// Connections that send a byte now and then.
    pub(crate) slow: usize,
    /// Subscriptions of 1 MiB.
    pub(crate) subscriptions: usize,
    /// Heartbeats whose replies the peer does not read.
    pub(crate) pings: usize,
}

/// The size in the test command: below a minute.
pub(crate) const QUICK: Size = Size {
    malformed: 1000,
    paced: 100,
    endless_bytes: 1 << 20,
    flood: 1000,
    slow: 50,
    subscriptions: 40,
    pings: 100_000,
};
/// The size of a separate run.
#[cfg_attr(not(feature = "engine-omq"), allow(dead_code))]
pub(crate) const FULL: Size = Size {
    malformed: 20_000,
    paced: 1_000,
    endless_bytes: 16 << 20,
    flood: 10_000,
    slow: 100,
    subscriptions: 400,
    pings: 2_000_000,
};
