//! The conformance suite of [polywire](https://docs.rs/polywire): the behavior that every backend
//! must have, as cases that run against any backend.
//!
//! A backend implements [`Backend`], which makes fresh spaces and opens transports in them, and
//! passes itself to [`Suite::of`]. Each case is a plain async function in [`cases`]. A case reads
//! as a specification and can be called alone with a [`TestContext`].
//!
//! A case ends in one of three ways:
//!
//! - It **passed**.
//! - It **failed**, with a sentence that says what was seen.
//! - It was **not run**, and names the capability or the hook that the backend lacks. Such a case
//!   never counts as passed.
//!
//! A backend is [conformant](Report::is_conformant) if no case failed and every case of the
//! minimum set passed.
//!
//! A space that can be disturbed lists its [hooks](Space::hooks). They enable the cases about lost
//! connections and dying brokers. A [`FaultProxy`] in front of a port implements most of them.
//!
//! As a test binary of its own (`harness = false`), with names and filters as usual:
//!
//! ```no_run
//! // tests/conformance.rs
//! # #[allow(clippy::needless_doctest_main)]
//! fn main() {
//!     polywire_conformance::main(|| {
//!         vec![polywire_conformance::Suite::of(polywire_conformance::MemoryBackend)]
//!     });
//! }
//! ```
//!
//! As plain tests, by the macro [`suite!`]. As a value that a program can inspect:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() {
//! use polywire_conformance::{MemoryBackend, Suite};
//!
//! let report = Suite::of(MemoryBackend).run(|case| case.id.starts_with("bodies.")).await;
//! println!("{report}");
//! assert!(report.failures().next().is_none());
//! # }
//! ```

mod backend;
mod case;
pub mod cases;
pub mod codecs;
mod context;
mod harness;
mod hook;
mod matrix;
mod names;
mod operation_log;
mod plain_tests;
mod progress;
mod proxy;
mod report;
mod scale;
mod suite;
mod verdict;
mod wait;

pub use self::backend::memory::{MemoryBackend, MemorySpace};
pub use self::backend::{Backend, Space};
pub use self::case::Case;
pub use self::context::TestContext;
pub use self::context::running_server::RunningServer;
pub use self::harness::{main, run};
pub use self::hook::{Direction, Hook};
pub use self::matrix::Matrix;
pub use self::names::URGENT;
pub use self::operation_log::{OperationLog, OperationOutcome, Summary};
pub use self::proxy::FaultProxy;
pub use self::report::{CaseOutcome, Entry, Report};
pub use self::suite::Suite;
pub use self::verdict::{Failure, Missing, OrFail, Verdict};

/// The guide to backends, so that its snippets compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/backends.md")]
mod guide {}
