//! The object-safe form of [`Space`].

use async_trait::async_trait;
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

    async fn disturb(&self, hook: Hook) -> Result<()> {
        Space::disturb(self, hook).await
    }

    async fn heal(&self) -> Result<()> {
        Space::heal(self).await
    }
}
