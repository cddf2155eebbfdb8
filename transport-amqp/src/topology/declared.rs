//! Cache of declared queues.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::Result;
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::supervised::SupervisedConnection;
use crate::topology::declaration::declare;
use crate::topology::queue::{EXPIRES_AFTER, QueueSpec};

/// The retry and dead-letter queues that were declared, with the time of the declaration. The
/// broker counts only a declaration as use of such a queue.
#[derive(Default)]
pub(crate) struct DeclaredQueues(Mutex<FxHashMap<ShortString, Instant>>);

impl DeclaredQueues {
    /// Declares a queue, unless that happened within the last minute. The lock is held meanwhile,
    /// so that concurrent callers declare the queue once.
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
        let mut declared = self.0.lock().await;
        declared.retain(|_, at| at.elapsed() < REDECLARE_AFTER);
        if declared.contains_key(&queue.name) {
            return Ok(());
        }
        declare(connection, queue).await?;
        declared.insert(queue.name.clone(), Instant::now());
        Ok(())
    }

    /// Forgets a queue that turned out to be missing.
    pub(crate) async fn forget(&self, queue: &QueueSpec) {
        self.0.lock().await.remove(&queue.name);
    }
}

/// One minute, well before a retry queue expires.
const REDECLARE_AFTER: Duration = Duration::from_secs(EXPIRES_AFTER.as_secs() / 5);
