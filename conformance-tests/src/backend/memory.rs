//! The in-memory transport of core as a backend: the reference.

use polywire_core::{AnyTransport, Memory, Result};

use super::{Backend, Space};

/// The in-memory transport of core: the reference backend. It has no hooks.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs)]
pub struct MemoryBackend;

/// A namespace in memory. Each transport is a [peer](Memory::peer) of the others.
///
/// Serving and calling transports are alike.
#[derive(Debug)]
pub struct MemorySpace(Memory);

impl Backend for MemoryBackend {
    type Space = MemorySpace;

    fn name(&self) -> String {
        "memory".to_owned()
    }

    async fn space(&self) -> Result<MemorySpace> {
        Ok(MemorySpace(Memory::new()))
    }
}

impl Space for MemorySpace {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(self.0.peer()))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(self.0.peer()))
    }
}
