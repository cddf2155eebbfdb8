//! Table of the canaries that are on their way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::canary_report::{CanaryEcho, CanaryReceiver};
use crate::error::{Error, ErrorKind, Result};

/// Canaries that a transport has sent and that are not back yet, by their numbers. Clones share the
/// table.
///
/// The table holds one canary for each running [`EndpointProbe`](super::EndpointProbe).
///
/// Public for the backends of this project, and hidden from the documentation, for the reasons of
/// [`LogThrottle`](crate::transport::LogThrottle).
#[derive(Clone, Debug, Default)]
pub struct PendingCanaries(Arc<Mutex<HashMap<u128, oneshot::Sender<CanaryReceiver>>>>);

/// Canary on its way. Dropping it removes it from the table.
#[derive(Debug)]
pub struct PendingCanary {
    pending: PendingCanaries,
    number: u128,
    sent: Instant,
    back: oneshot::Receiver<CanaryReceiver>,
}

impl PendingCanaries {
    /// Adds a canary with a number that is unique.
    #[must_use]
    pub fn begin(&self, number: u128) -> PendingCanary {
        let (sender, back) = oneshot::channel();
        self.lock().insert(number, sender);
        PendingCanary { pending: self.clone(), number, sent: Instant::now(), back }
    }

    /// Notes that a canary is back. Returns whether this table has sent it.
    pub fn complete(&self, number: u128, receiver: CanaryReceiver) -> bool {
        // The prober may have stopped waiting.
        self.lock().remove(&number).is_some_and(|back| back.send(receiver).is_ok())
    }

    /// Returns whether this table waits for a canary.
    #[must_use]
    pub fn is_pending(&self, number: u128) -> bool {
        self.lock().contains_key(&number)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, oneshot::Sender<CanaryReceiver>>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingCanary {
    /// Waits until the canary is back. If the future is dropped, the canary is still on its way.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if another canary took the number.
    pub async fn echo(&mut self) -> Result<CanaryEcho> {
        let back = (&mut self.back).await;
        let text = "cannot receive the canary: another canary has its number";
        let lost = |_| Error::new(ErrorKind::Closed, text);
        back.map_err(lost).map(|receiver| CanaryEcho::new(self.sent.elapsed(), receiver))
    }
}

impl Drop for PendingCanary {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.number);
    }
}
