//! Cache of declared queues.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::Result;
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::supervised_connection::SupervisedConnection;
use crate::topology::declare_queue::declare;
use crate::topology::queue_spec::QueueSpec;
use crate::topology::used_retry_queues::UsedRetryQueues;

/// The retry and dead-letter queues that were declared, with the time of the declaration. The
/// broker counts only a declaration as use of such a queue, if the queue is classic.
///
/// An entry lasts for a fifth of the expiry of retry queues, one minute by default. So a classic
/// retry queue that is in use is declared often enough to stay.
pub(crate) struct DeclaredQueues {
    declared: Mutex<FxHashMap<ShortString, Instant>>,
    /// A fifth of the expiry of a retry queue.
    again_after: Duration,
    /// The retry queues in which deliveries of this transport may wait, declared recently or not.
    pub(crate) used_retry_queues: UsedRetryQueues,
}

impl DeclaredQueues {
    /// Returns an empty cache for retry queues that expire after so long without use.
    pub(crate) fn new(expiry: Duration) -> Self {
        let used_retry_queues = UsedRetryQueues::default();
        Self { declared: Mutex::default(), again_after: expiry / 5, used_retry_queues }
    }

    /// Declares a queue, unless that happened a short time ago. The lock is held meanwhile, so that
    /// concurrent callers declare the queue once.
    ///
    /// # Errors
    ///
    /// Those of [`declare`]. After an error, or if the future is dropped, the next
    /// caller declares the queue.
    pub(crate) async fn ensure(
        &self,
        connection: &SupervisedConnection,
        queue: &QueueSpec,
    ) -> Result<()> {
        let mut declared = self.declared.lock().await;
        declared.retain(|_, at| at.elapsed() < self.again_after);
        if declared.contains_key(&queue.name) {
            return Ok(());
        }
        declare(connection, queue).await?;
        declared.insert(queue.name.clone(), Instant::now());
        Ok(())
    }

    /// Forgets a queue that turned out to be missing.
    pub(crate) async fn forget(&self, queue: &QueueSpec) {
        self.declared.lock().await.remove(&queue.name);
    }
}
