//! The identity of a call on a server.

use crate::message::{CallId, ReplyTo};

/// The identity of a call among the calls of all clients: the reply address and the id.
///
/// The key comes from the network, so tables use a hasher that resists deliberate collisions.
pub(super) type CallKey = (ReplyTo, Option<CallId>);
