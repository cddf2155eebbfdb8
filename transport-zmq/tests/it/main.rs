//! Integration tests over real sockets, in one program so that the crate is linked once.
//!
//! The tests of log lines, of hostile peers and of conformance are programs of their own: the first
//! depend on counts of the whole process, the second need the processors for themselves, and the
//! third have their own harness.

#![cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
#![cfg_attr(
    not(all(feature = "engine-omq", feature = "engine-zeromq", target_os = "linux")),
    allow(
        dead_code,
        unused_imports,
        unused_macros,
        reason = "some tests need both engines or Linux"
    )
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

#[macro_use]
pub(crate) mod support;

mod balancing;
#[cfg(feature = "engine-omq")]
mod batches;
#[cfg(feature = "engine-omq")]
mod bounds;
mod cancellation;
#[cfg(feature = "engine-omq")]
mod closing;
mod deadlines;
mod declines;
mod draining;
#[cfg(feature = "engine-omq")]
mod endpoints;
#[cfg(unix)]
mod error_texts;
mod health;
#[cfg(all(target_os = "linux", feature = "engine-omq"))]
mod inbound_servers;
#[cfg(feature = "engine-omq")]
mod limits;
mod lost_servers;
#[cfg(target_os = "linux")]
mod names;
#[cfg(feature = "engine-omq")]
mod pipeline;
#[cfg(all(unix, feature = "engine-omq"))]
mod processes;
#[cfg(feature = "engine-omq")]
mod proxy;
#[cfg(feature = "engine-omq")]
mod proxy_chain;
#[cfg(feature = "engine-omq")]
mod proxy_misuse;
#[cfg(feature = "engine-omq")]
mod pubsub;
#[cfg(all(unix, feature = "curve"))]
mod pyzmq;
mod refusals;
#[cfg(feature = "engine-omq")]
mod runtimes;
#[cfg(feature = "curve")]
mod security;
#[cfg(feature = "engine-omq")]
mod settings;
#[cfg(unix)]
mod socket_files;
mod sockets;
