//! Sending canaries through the queue or the socket of an endpoint handle, as a backend does.

use std::time::Duration;

use async_trait::async_trait;

use super::canary_report::CanaryEcho;
use crate::error::Result;

/// Backend side of the canaries of an endpoint handle.
#[async_trait]
pub trait EndpointProbe: Send + Sync + 'static {
    /// Sends a canary to the queue or the socket of the handle, and waits until it is back.
    ///
    /// The canary takes the way of a message, and the handle yields no delivery for it. Core bounds
    /// the wait to `limit` and drops the future then; the backend may remove the canary by itself
    /// after this time, too.
    ///
    /// # Errors
    ///
    /// Those of sending a message.
    async fn canary(&self, limit: Duration) -> Result<CanaryEcho>;
}
