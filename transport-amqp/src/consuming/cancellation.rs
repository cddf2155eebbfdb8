//! Cancellations: messages from clients to servers about calls that the client has stopped waiting
//! for.
//!
//! Cancellations use a channel of their own at both ends, apart from requests and replies. If the
//! broker closes that channel, no request or reply is lost. A cancellation may get lost; then the
//! handler runs until its deadline.

pub(crate) mod listener;
pub(crate) mod sender;
