//! Frames that the engine takes for writing at once: no wait, and no error.

use std::task::{Context, Waker};

/// Queues a frame: the first poll of `sending` does so. What is left to wait for is the write to
/// the socket. If that fails, the channel is lost, and the broker requeues its deliveries.
///
/// The call neither waits nor reports an error, so it may run while a receipt is dropped.
pub(crate) fn send_unawaited(sending: impl Future<Output = lapin::Result<()>>) {
    let sending = std::pin::pin!(sending);
    let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
}
