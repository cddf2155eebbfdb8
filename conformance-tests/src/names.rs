//! Names of services, queues and channels, for cases that need just one of each.

/// The name of the service.
pub(crate) const SERVICE: &str = "calculator";

/// The name of the queue of jobs.
pub(crate) const QUEUE: &str = "thumbnails";

/// The name of the channel of events.
pub(crate) const CHANNEL: &str = "weather";

/// The name of the queue of jobs in the cases about priorities.
///
/// Where queues know priorities only if they are declared so, the space declares this one, for
/// priorities up to 3.
pub const URGENT: &str = "urgent";
