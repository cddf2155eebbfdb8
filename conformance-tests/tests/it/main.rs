//! The contract of codecs, the proxy, the TCP example beyond the suite, and the guide.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod codecs;
mod guide;
mod proxy;
mod tcp_backend;
