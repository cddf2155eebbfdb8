//! Waiting for the counters of a server.

use polywire_core::rpc::ServerHandle;

/// Waits until a server has answered so many calls: it counts a reply after the caller has it.
pub(crate) async fn answered(server: &ServerHandle, calls: u64) {
    while server.stats().answered < calls {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.stats().answered, calls);
}
