//! Fault scenarios over RabbitMQ: delivery guarantees, counted while brokers, servers and
//! connections fail.
//!
//! Each [`Scenario`] puts load on real nodes and real processes, disturbs them, and records every
//! operation by number. As in Jepsen's tests, an acknowledged operation must have had its effect.
//! A scenario has two sizes: full for `cargo xtask faults`, and quick for the tests.

mod broker;
mod calls;
mod flows;
mod jobs;
mod not_run;
pub mod peer;
mod plan;
mod recorder;
mod report;
mod scenario;
mod scenarios;
pub mod shop_program;
mod traffic;
mod wait;

pub use self::plan::{Mode, Plan, Size};
pub use self::report::{Report, Table};
pub use self::scenario::Scenario;
