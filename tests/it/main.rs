//! Tests of the facade: URLs, and the code that `#[service]` and `#[derive(Fault)]` generate.

#![deny(missing_docs, warnings)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests fail by them")]

#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod arguments;
mod connect;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod errors;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod hygiene;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod message_ids;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod nested;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod patterns;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod send_options;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod service;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod ui;
#[cfg(all(feature = "macros", feature = "json", feature = "msgpack"))]
mod uncancelled;
