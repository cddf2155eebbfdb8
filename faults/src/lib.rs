//! Fault scenarios over RabbitMQ: delivery guarantees, counted while brokers, servers and
//! connections fail.
//!
//! Each [`Scenario`] puts load on real nodes and real processes, disturbs them, and records every
//! operation by number. As in Jepsen's tests, an acknowledged operation must have had its effect.
//! A scenario has two sizes: full for `cargo xtask faults`, and quick for the tests.
//!
//! # Processes
//!
//! A scenario runs in the process `polywire-faults`, which is the client in most scenarios.
//! Servers and workers are further processes of the same program, and SIGKILL ends them without a
//! drain. Each of them reports its effects through a pipe, which outlives the process. The brokers
//! are private nodes, which a scenario starts and ends.
//!
//! # Invariants
//!
//! Two invariants hold at the end of each scenario. No acknowledged operation is *lost*: each has
//! had its effect. No operation has an *unexpected* effect, after it has certainly failed.
//! Duplicates are counted; single scenarios forbid them. In addition, each wait for a condition has
//! a bound of two minutes, after which the scenario fails.

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
