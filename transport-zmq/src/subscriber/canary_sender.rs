//! Canaries of a subscriber: markers that its publishers answer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use polywire_core::Result;
use polywire_core::health::{CanaryEcho, CanaryReceiver, EndpointProbe};
use polywire_core::transport::async_trait;
use tokio::time::Instant;

use super::subscriptions::Subscriptions;
use crate::common_errors::closed;

/// Sender of the canaries of one subscriber.
///
/// A canary is a marker that each connected publisher answers, as it does for a new filter. It goes
/// through the socket to all publishers and back, and proves that the socket is read.
pub(super) struct SubscriberProbe(Weak<Subscriptions>);

impl SubscriberProbe {
    /// Creates the sender of canaries of a subscriber.
    pub(super) fn new(subscriptions: &Arc<Subscriptions>) -> Self {
        Self(Arc::downgrade(subscriptions))
    }
}

#[async_trait]
impl EndpointProbe for SubscriberProbe {
    async fn canary(&self, _: Duration) -> Result<CanaryEcho> {
        let (sent, subscriptions) = (Instant::now(), self.0.upgrade().ok_or_else(closed)?);
        subscriptions.probe().await?;
        Ok(CanaryEcho::new(sent.elapsed(), CanaryReceiver::ThisEndpoint))
    }
}
