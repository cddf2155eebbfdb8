//! The code that `#[service]` and `#[derive(Fault)]` generate, with real services.

#![deny(missing_docs, warnings)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests fail by them")]

mod arguments;
mod backends;
mod docs;
mod errors;
mod hygiene;
mod message_ids;
mod names;
mod nested;
mod passed_on;
mod patterns;
mod send_options;
mod service;
mod ui;
mod uncancelled;
