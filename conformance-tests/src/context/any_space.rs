//! The object-safe form of [`Space`].

use std::time::Duration;

use polywire_core::transport::async_trait;
use polywire_core::{AnyTransport, Result};

use crate::backend::Space;
use crate::hook::Hook;

/// The object-safe form of [`Space`], so that a case does not depend on the backend's type.
#[async_trait]
pub(crate) trait AnySpace: Send + Sync {
    /// As [`Space::serving`].
    async fn serving(&self) -> Result<AnyTransport>;
    /// As [`Space::calling`].
    async fn calling(&self) -> Result<AnyTransport>;
    /// As [`Space::hooks`].
    fn hooks(&self) -> Vec<Hook>;
    /// As [`Space::waiting_max`].
    fn waiting_max(&self) -> u32;
    /// As [`Space::redelivery_max`].
    fn redelivery_max(&self) -> Duration;
    /// As [`Space::disturb`].
    async fn disturb(&self, hook: Hook) -> Result<()>;
    /// As [`Space::heal`].
    async fn heal(&self) -> Result<()>;
}

#[async_trait]
impl<S: Space> AnySpace for S {
    async fn serving(&self) -> Result<AnyTransport> {
        Space::serving(self).await
    }

    async fn calling(&self) -> Result<AnyTransport> {
        Space::calling(self).await
    }

    fn hooks(&self) -> Vec<Hook> {
        Space::hooks(self)
    }

    fn waiting_max(&self) -> u32 {
        Space::waiting_max(self)
    }

    fn redelivery_max(&self) -> Duration {
        Space::redelivery_max(self)
    }

    async fn disturb(&self, hook: Hook) -> Result<()> {
        Space::disturb(self, hook).await
    }

    async fn heal(&self) -> Result<()> {
        Space::heal(self).await
    }
}
