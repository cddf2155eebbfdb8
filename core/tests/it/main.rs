//! The patterns, the middleware and the memory transport, through the public interface.

#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod any_service_client;
mod budget;
mod circuit_log;
mod client;
mod dead_letters;
mod declines;
mod early_replies;
mod ended_runtime;
mod final_failures;
mod health;
mod kit_envelope;
mod kit_malformed;
mod live_router;
mod log;
mod memory;
mod multi_publisher;
mod one_way;
mod options;
mod panics;
mod retries;
mod router;
mod scripted;
mod server;
mod serving;
mod settings;
mod sizes;
mod slow_calls;
mod stopped;
mod suspects;
mod testing;
mod tower;
mod trace;
mod uncancelled;
mod waiting_retries;
mod watching;
mod wire_log;
mod work;
