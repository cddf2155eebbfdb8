//! What polywire promises over RabbitMQ, counted while brokers, servers and links fail.
//!
//! Each [`Scenario`] loads real nodes, and real processes, with operations that have numbers,
//! disturbs them, and keeps the book as Jepsen does: what was acknowledged must have had its
//! effect. It comes in two sizes: the full one, for `cargo xtask faults`, and a quick one, which is
//! a test.

mod book;
mod broker;
mod calls;
mod dice;
mod jobs;
mod patience;
pub mod peer;
mod plan;
mod report;
mod scenario;
mod scenarios;
mod traffic;

pub use self::plan::{Mode, Plan, Size};
pub use self::report::{Report, Table};
pub use self::scenario::Scenario;
