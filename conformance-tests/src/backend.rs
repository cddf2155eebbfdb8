//! What a backend tells the suite about itself.

use std::future::Future;

use polywire_core::{AnyTransport, Error, ErrorKind, Memory, Result};

use crate::Hook;

/// A backend that can be tested.
///
/// See [`MemoryBackend`] for the shortest one.
pub trait Backend: Send + Sync + 'static {
    /// A place of its own for one case.
    type Space: Space;

    /// The name in reports, such as `amqp-quorum`: the backend, and how it is set up.
    fn name(&self) -> String;

    /// Makes a fresh space: a virtual host, a free port, a prefix for names. Nothing that another
    /// case did may be seen in it, and several may exist at a time.
    fn space(&self) -> impl Future<Output = Result<Self::Space>> + Send;
}

/// A place in which transports find each other.
///
/// Each transport stands for a process of its own: two of them share nothing but the network. All
/// keep their default settings, but for what the place demands, and a connect time of two seconds
/// at the most, so that cases about nobody being there end soon.
pub trait Space: Send + Sync + 'static {
    /// A transport for a serving process.
    fn serving(&self) -> impl Future<Output = Result<AnyTransport>> + Send;

    /// A transport for a calling process. It reaches every service that serving transports of this
    /// space have bound by now.
    fn calling(&self) -> impl Future<Output = Result<AnyTransport>> + Send;

    /// The disturbances that the place can bring about: none, unless it says so.
    fn hooks(&self) -> Vec<Hook> {
        Vec::new()
    }

    /// Brings about a disturbance of all that is connected by now, and returns when it is in force.
    fn disturb(&self, hook: Hook) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Err(unsupported(hook)))
    }

    /// Ends the disturbances that last. The suite calls it after each case, too.
    fn heal(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

fn unsupported(hook: Hook) -> Error {
    Error::new(ErrorKind::Unsupported, "the space cannot be disturbed in this way")
        .with("hook", hook)
        .unsent()
}

/// The in-memory transport of core: the reference.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs)]
pub struct MemoryBackend;

/// A world in memory.
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
