//! The approved list of cases, the template of a backend, the contract of codecs, the proxy, the
//! TCP example beyond the suite, the guide, and the cases that documents cite.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cited;
mod codecs;
mod guide;
mod list;
mod proxy;
mod tcp_backend;
mod template;
