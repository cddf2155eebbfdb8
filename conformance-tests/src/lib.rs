//! The conformance suite of [polywire](https://docs.rs/polywire): what every backend must do.
//!
//! A backend implements [`Backend`], which makes fresh spaces with transports in them, and hands
//! itself to the suite. Each case is a plain async function in [`cases`] that reads as a
//! specification and can be called alone. A case ends in one of three ways: passed, failed with a
//! sentence, or **not run**, naming the capability or the hook that is missing; the latter never
//! counts as passed. A backend is [conformant](Report::is_conformant) if no case failed and
//! every case of the minimum set passed.
//!
//! A space that can be disturbed says so by its [hooks](Space::hooks), which makes the cases about
//! lost connections and dying brokers run; a [`Proxy`] brings most of them about.
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
//! Or as plain tests, by [`suite!`], or as a value, to look at:
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
pub mod cases;
pub mod codecs;
mod harness;
mod hook;
mod matrix;
mod proxy;
mod report;
mod stage;
mod suite;
mod tally;
mod verdict;

pub use self::backend::{Backend, MemoryBackend, MemorySpace, Space};
pub use self::harness::{main, run};
pub use self::hook::{Direction, Hook};
pub use self::matrix::Matrix;
pub use self::proxy::Proxy;
pub use self::report::{Entry, Outcome, Report};
pub use self::stage::{Serving, Stage, URGENT};
pub use self::suite::{Case, Suite};
pub use self::tally::{End, Sum, Tally};
pub use self::verdict::{Failure, Missing, OrFail, Verdict};

/// The guide, whose snippets compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/backends.md")]
mod guide {}
