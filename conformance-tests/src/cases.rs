//! The cases: the requirements of every backend, one function each.
//!
//! The id of a case is its group, which is its module here, a dot, and the name of its function. A
//! case takes a [`TestContext`](crate::TestContext) in a fresh space, and returns a
//! [`Verdict`](crate::Verdict). It opens everything that it needs, and the space ends with it.
//!
//! A step that does not end within 30 s fails its case, where nothing else is said. The bounds are
//! wide enough for a machine that is busy with something else, and so no measure of a backend's
//! speed.

pub mod answers;
pub mod at_most_once;
pub mod bodies;
pub mod broadcasts;
pub mod brokers;
pub mod budget;
pub mod calls;
pub mod chains;
pub mod codecs;
pub mod deadlines;
mod disturbed;
pub mod endings;
pub mod faults;
pub mod handlers;
pub mod health;
pub mod instances;
pub mod lifecycle;
pub mod links;
mod list;
pub mod long_names;
pub mod message_ids;
pub mod one_way;
pub mod outages;
mod panicking_payload;
pub mod pipeline;
pub mod pubsub;
mod receive;
pub mod redelivery;
mod refusal;
mod request;
pub mod retries;
pub mod send_options;
pub mod servers;
mod services;
mod task;

pub use self::list::ALL;

/// The version of the list of cases.
///
/// The first number grows when a backend that was conformant may no longer be: a case joins the
/// minimum set, or asks for more. The second one grows with any other change of the list.
pub const VERSION: &str = "1.0";

/// Names the version of the list with the number of its cases, as in `conformance 1.0: 99 cases`.
///
/// ```
/// use polywire_conformance::cases;
///
/// let expected = format!("conformance {}: {} cases", cases::VERSION, cases::ALL.len());
/// assert_eq!(cases::edition(), expected);
/// ```
#[must_use]
pub fn edition() -> String {
    format!("conformance {VERSION}: {} cases", ALL.len())
}
