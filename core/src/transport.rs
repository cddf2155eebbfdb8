//! Transports: the traits that a backend implements, the in-memory backend, and [`AnyTransport`].
//!
//! Read in this order: [`Transport`] opens endpoint handles; [`Sender`] and [`Receiver`] are the
//! two halves of each handle; [`Outbound`] and [`Inbound`] are the traits behind these halves; a
//! [`Delivery`] carries a message and its [`Receipt`]. `docs/backends.md` is the guide for authors
//! of backends, and [`kit`] has the parts that most backends need.

mod any_transport;
mod begin_permission;
mod capabilities;
mod dead_letter_queue;
mod delivery;
mod delivery_outcome;
mod filter_control;
mod identified;
mod inbound;
pub mod kit;
mod log_throttle;
mod memory;
mod outbound;
mod settlement;
mod subscription_options;
mod suspect;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod transport;
mod waiting_time_estimator;
mod window;
mod wire_log;

/// Attribute for implementations of [`DeadLetterQueue`] and [`FilterControl`], which are used
/// as trait objects. Re-exported from the crate `async-trait`.
pub use async_trait::async_trait;

pub use self::any_transport::AnyTransport;
pub use self::begin_permission::{Answer, Asked, Question, ServerAddress, ServerNotice};
pub use self::capabilities::Capabilities;
pub use self::dead_letter_queue::{DeadLetterQueue, DeadLetterSource};
pub use self::delivery::Delivery;
pub use self::delivery_outcome::{DeadLetterInfo, Outcome, RetryAfter};
pub use self::filter_control::{FilterControl, Filters};
pub use self::identified::Identified;
pub use self::inbound::{Abandoned, Inbound, Receiver, ReplySink};
#[doc(hidden)]
pub use self::log_throttle::LogThrottle;
pub use self::memory::Memory;
pub(crate) use self::outbound::DEFAULT_TIMEOUT;
pub use self::outbound::{GetOnSent, OnSent, Outbound, Sender, Sending};
pub use self::settlement::{OnSettled, Receipt, Settle, Settled};
pub use self::subscription_options::{Group, Subscription};
pub use self::suspect::Suspect;
pub use self::transport::Transport;
pub use self::waiting_time_estimator::WaitingTimes;
pub use self::window::Window;
pub(crate) use self::wire_log::{WireKind, log_received, log_sent};
