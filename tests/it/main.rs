//! Tests of the facade: URLs, and the code that `#[service]` and `#[derive(Fault)]` generate.

mod connect;
mod errors;
mod nested;
mod patterns;
mod service;
mod ui;
