//! Errors of the engine seam: operations that an engine does not support, and endpoints that it
//! cannot bind. All of them are marked as unsent.

use polywire_core::{Error, ErrorKind};

#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::endpoint::Endpoint;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::engine::endpoint_failure::bind_cause;

/// Returns the error of an operation that the selected engine does not support. `reason` begins
/// with "cannot".
fn unsupported(reason: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, reason).unsent()
}

/// Returns the error of an engine that is not a feature of this build.
pub(super) fn not_compiled_in() -> Error {
    unsupported("cannot open a socket: this engine is not compiled in, enable its feature")
}

/// Returns the error of an endpoint that cannot be bound, with the cause: the port is in use, or
/// this process may not use it.
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
pub(super) fn cannot_bind(endpoint: &Endpoint, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::new(ErrorKind::Config, format!("cannot bind {endpoint}"))
        .with_named("endpoint", endpoint)
        .with_source(bind_cause(endpoint, error))
        .unsent()
}
