//! Canaries of a consumer.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::queue::Queue;
use crate::error::{Error, ErrorKind, Result};
use crate::health::{CanaryEcho, CanaryReceiver, EndpointProbe};

/// Sender of canaries to one consumer of a queue. No other consumer fetches them.
pub(super) struct ConsumerProbe {
    queue: Arc<Queue>,
    id: u64,
}

impl ConsumerProbe {
    /// Creates the sender of canaries to the consumer `id`.
    pub(super) fn new(queue: Arc<Queue>, id: u64) -> Self {
        Self { queue, id }
    }
}

#[async_trait]
impl EndpointProbe for ConsumerProbe {
    async fn canary(&self, _: Duration) -> Result<CanaryEcho> {
        let (sent, (sender, back)) = (Instant::now(), oneshot::channel());
        self.queue.push_canary(self.id, sender)?;
        let text = "cannot receive the canary: the endpoint handle has stopped";
        back.await.map_err(|_| Error::new(ErrorKind::Closed, text))?;
        Ok(CanaryEcho::new(sent.elapsed(), CanaryReceiver::ThisEndpoint))
    }
}
