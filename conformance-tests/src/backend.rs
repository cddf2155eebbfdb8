//! The traits that a backend implements to be tested.

pub(crate) mod memory;

use std::future::Future;
use std::time::Duration;

use polywire_core::{AnyTransport, Error, ErrorKind, Result};

use crate::hook::Hook;

/// A backend that can be tested.
///
/// [`MemoryBackend`](crate::MemoryBackend) is the shortest implementation.
pub trait Backend: Send + Sync + 'static {
    /// A separate environment for one case.
    type Space: Space;

    /// The name in reports, such as `amqp-quorum`: the backend and its configuration.
    fn name(&self) -> String;

    /// Makes a fresh space: a virtual host, a free port, a prefix for names.
    ///
    /// Nothing that another case did may be visible in it. Several spaces may exist at a time.
    ///
    /// # Errors
    ///
    /// An error of the backend, if the space cannot be made. The case fails then.
    fn space(&self) -> impl Future<Output = Result<Self::Space>> + Send;
}

/// An environment in which transports find each other.
///
/// Each transport stands for a process of its own: two of them share nothing but the network. All
/// keep their default settings, except for what the space requires. The connect time is two seconds
/// at most, so that cases about missing peers end soon.
pub trait Space: Send + Sync + 'static {
    /// Opens a transport for a serving process.
    ///
    /// # Errors
    ///
    /// An error of the backend, if the transport cannot be opened. The case fails then.
    fn serving(&self) -> impl Future<Output = Result<AnyTransport>> + Send;

    /// Opens a transport for a calling process. It reaches every service that serving transports of
    /// this space have bound by now.
    ///
    /// # Errors
    ///
    /// As [`serving`](Self::serving).
    fn calling(&self) -> impl Future<Output = Result<AnyTransport>> + Send;

    /// Lists the disturbances that the space implements. The default is none.
    fn hooks(&self) -> Vec<Hook> {
        Vec::new()
    }

    /// Returns the number of requests that may wait at once for a server of the space, in all its
    /// buffers together. The default is 10,000.
    ///
    /// The suite sends that many calls at once, and each must be answered. A number below 1,000 is
    /// refused: the case fails.
    fn waiting_max(&self) -> u32 {
        10_000
    }

    /// Returns the longest time after which a delivery that a killed process held is delivered
    /// again. It counts from the loss of the connection of that process. The default is 5 s.
    ///
    /// A carrier that learns of the loss by a timeout of its own names that time. More than 30 s
    /// is refused: the case fails.
    fn redelivery_max(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// Disturbs everything that is connected by now, and returns when the disturbance is in force.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a hook that the space does not list, which is the default for
    /// all. An error for one that it does list fails the case.
    fn disturb(&self, hook: Hook) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Err(unsupported(hook)))
    }

    /// Ends the disturbances that last. The suite calls it after each case, too. The default does
    /// nothing.
    ///
    /// # Errors
    ///
    /// An error of the backend, if the space cannot be healed. The case fails then.
    fn heal(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

fn unsupported(hook: Hook) -> Error {
    Error::new(ErrorKind::Unsupported, "cannot disturb the space: it does not have this hook")
        .with("hook", hook)
        .unsent()
}
