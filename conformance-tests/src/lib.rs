//! The conformance suite of [polywire](https://docs.rs/polywire): what every backend must do.
//!
//! A backend implements [`Backend`], which makes fresh spaces with transports in them, and hands itself to the suite.
//! Each case is a plain async function in [`cases`] that reads as a specification and can be called alone. A case
//! ends in one of three ways: passed, failed with a sentence, or **not run**, naming the capability that is missing;
//! the latter never counts as passed.
//!
//! As a test binary of its own (`harness = false`), with names and filters as usual:
//!
//! ```no_run
//! // tests/conformance.rs
//! # #[allow(clippy::needless_doctest_main)]
//! fn main() {
//!     polywire_conformance::main(|| vec![polywire_conformance::Suite::of(polywire_conformance::MemoryBackend)]);
//! }
//! ```
//!
//! Or as a value, to look at:
//!
//! ```
//! # #[tokio::main]
//! # async fn main() {
//! use polywire_conformance::{MemoryBackend, Suite};
//!
//! let report = Suite::of(MemoryBackend).run(|case| case.id.starts_with("bodies.")).await;
//! println!("{report}");
//! assert!(report.is_conformant());
//! # }
//! ```

mod backend;
pub mod cases;
mod harness;
mod report;
mod stage;
mod suite;
mod verdict;

pub use self::backend::{Backend, MemoryBackend, MemorySpace, Space};
pub use self::harness::main;
pub use self::report::{Entry, Report};
pub use self::stage::{Serving, Stage};
pub use self::suite::{Case, Suite};
pub use self::verdict::{Failure, OrFail, Verdict};
