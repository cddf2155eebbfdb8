//! Kit for backends: the parts that each backend would otherwise write again.
//!
//! Nothing here opens a connection or starts a task. A backend keeps its sockets and its engine,
//! and takes from the kit what it has in common with all others:
//!
//! | part | for |
//! |---|---|
//! | [`Envelope`] | a message without its body, as plain data that any format of serde writes |
//! | [`ErrorEnvelope`], [`OutcomeEnvelope`] | errors and outcomes, as plain data |
//! | [`EnvelopeLimits`] | the limits of a message, checked in one place for both directions |
//! | [`HeldDeliveries`], [`DeliveryTags`] | window, credit, tags and outcomes of deliveries |
//! | [`DeliveryQueue`], [`DeliveryFeed`] | the receiving half of a handle that another task reads |
//! | [`LinkMonitor`], [`LinkWatch`] | the state of a connection, with tasks that wait for it |
//! | [`refused_reply`], [`unroutable`] | answers to what no server took |
//!
//! The examples `tcp` and `unix` of `polywire-conformance` are built on it. A backend with a wire
//! format of its own needs no [`Envelope`], and may use the other parts.

mod cut_text;
mod delivery_queue;
mod delivery_tags;
mod envelope;
mod envelope_limits;
mod error_envelope;
mod fault_envelope;
mod held_deliveries;
mod history_envelope;
mod link_monitor;
mod outcome_envelope;
mod refusal;

pub use self::delivery_queue::{DeliveryFeed, DeliveryQueue};
pub use self::delivery_tags::DeliveryTags;
pub use self::envelope::Envelope;
pub use self::envelope_limits::EnvelopeLimits;
pub use self::error_envelope::ErrorEnvelope;
pub use self::fault_envelope::FaultEnvelope;
pub use self::held_deliveries::{HeldDeliveries, SettleStep};
pub use self::history_envelope::{DeadLetterEnvelope, HistoryEnvelope};
pub use self::link_monitor::{LinkMonitor, LinkPhase, LinkWatch};
pub use self::outcome_envelope::OutcomeEnvelope;
pub use self::refusal::{refused_reply, unroutable};
