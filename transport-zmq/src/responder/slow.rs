//! Callers that do not read their replies. No I/O.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Error, ErrorKind, Result};
use rustc_hash::FxHashSet;
use tokio::time::timeout;

use crate::error::lock;

/// Who had no room for a reply for as long as one waits.
///
/// A reply that waits for room keeps its place in the window, and so other callers from being served. So the first ones
/// wait, in case their caller is only slow, and those that follow do not, until the caller has read.
#[derive(Default)]
pub(super) struct Mute(Mutex<FxHashSet<Bytes>>);

impl Mute {
    /// Those that are known. Who is gone stays in it, so it is emptied when there are more; who is mute still is found to
    /// be so again.
    const MAX: usize = 10_000;

    /// What a reply comes to that has to wait for room.
    pub(super) async fn wait(&self, peer: Bytes, sending: impl Future<Output = Result<()>>) -> Result<()> {
        if self.is_mute(&peer) {
            return Err(unread());
        }
        if let Ok(sent) = timeout(PATIENCE, sending).await {
            return sent;
        }
        let mut peers = lock(&self.0);
        if peers.len() >= Self::MAX {
            peers.clear();
        }
        peers.insert(peer);
        Err(unread())
    }

    /// Notes that a caller had room.
    pub(super) fn has_read(&self, peer: &Bytes) {
        let mut peers = lock(&self.0);
        if !peers.is_empty() {
            peers.remove(peer);
        }
    }

    fn is_mute(&self, peer: &Bytes) -> bool {
        lock(&self.0).contains(peer)
    }
}

/// How long a reply waits for its caller to read those before.
const PATIENCE: Duration = Duration::from_secs(10);

fn unread() -> Error {
    Error::new(ErrorKind::Unroutable, "the caller does not read its replies")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn replies_wait_for_a_caller_once_and_again_after_it_has_read() {
        let (mute, peer) = (Mute::default(), Bytes::from_static(b"peer"));
        for waits in [true, false, false] {
            let begun = Instant::now();
            let error = mute.wait(peer.clone(), pending()).await.unwrap_err();
            assert_eq!((error.kind(), begun.elapsed() >= PATIENCE), (ErrorKind::Unroutable, waits));
        }
        assert!(mute.wait(Bytes::from_static(b"other"), ready(Ok(()))).await.is_ok());
        mute.has_read(&peer);
        assert!(mute.wait(peer, ready(Ok(()))).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_are_gone_do_not_pile_up() {
        let mute = Mute::default();
        let peers = (0..=Mute::MAX as u64).map(|peer| Bytes::copy_from_slice(&peer.to_le_bytes()));
        let all = peers.map(|peer| mute.wait(peer, pending()));
        futures_util::future::join_all(all).await;
        assert_eq!(lock(&mute.0).len(), 1);
    }
}
