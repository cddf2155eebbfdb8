//! The identity of a call on a server.

use crate::message::{CallId, ReplyTo};
use crate::service::ReplySlot;

/// The identity of a call among the calls of all clients: the reply address and the id.
///
/// The key comes from the network, so tables use a hasher that resists deliberate collisions.
pub(super) type CallKey = (ReplyTo, Option<CallId>);

/// Returns the identity of the call of a slot; `None` if no caller waits.
pub(super) fn call_key(slot: &ReplySlot) -> Option<CallKey> {
    let facts = slot.facts();
    Some((facts.reply_to.clone()?, facts.id))
}
