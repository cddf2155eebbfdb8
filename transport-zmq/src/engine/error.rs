//! Errors of the engine seam.

use polywire_core::{Error, ErrorKind};

#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::endpoint::Endpoint;

/// The selected engine cannot do what was asked for.
pub(super) fn unsupported(reason: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, reason).unsent()
}

/// The selected engine is not a feature of this build.
pub(super) fn not_compiled_in() -> Error {
    unsupported("cannot open a socket: this engine is not compiled in, enable its feature")
}

/// Engine `zeromq` has no pipelines: a PUSH socket does not notice that its only puller is gone,
/// and accepts job after job for that puller.
pub(super) fn no_pipelines() -> Error {
    unsupported("cannot open a pipeline: this engine silently loses jobs when a puller disconnects")
}

/// Engine `zeromq` has no publish-subscribe: it drops events of a slow subscriber without an error.
pub(super) fn no_pubsub() -> Error {
    unsupported(
        "cannot open publish-subscribe: this engine silently drops events of a slow subscriber",
    )
}

/// Binding failed: the port is in use, or may not be used by this process.
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
pub(super) fn cannot_bind(
    endpoint: &Endpoint,
    because: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    // Two endpoint handles of a transport cannot share a fixed port; with port `*` each gets its
    // own.
    let error = Error::new(
        ErrorKind::Config,
        "cannot bind: the address is in use, perhaps by another endpoint handle; port * binds a \
         free one",
    )
    .with("endpoint", endpoint);
    error.with("because", &because).with_source(because).unsent()
}
