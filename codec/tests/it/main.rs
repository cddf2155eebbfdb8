//! The codecs: round trips, types, nesting, and errors.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod depth;
mod errors;
mod roundtrip;
mod types;
mod unusual;
