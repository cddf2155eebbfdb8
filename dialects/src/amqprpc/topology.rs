//! The queues of amqprpc.

use polywire_amqp::{LayoutExchange, LayoutQueue, QueueDeclaration, Topology};
use polywire_core::Address;

/// Expiry of the reply queue of a client that is gone, in milliseconds. Only that client declares
/// the queue, so its options are ours.
const REPLIES_EXPIRE_MS: i32 = 300_000;

/// Returns the exchange of all messages, the default one: a routing key is the name of a queue.
pub(super) fn default_exchange() -> LayoutExchange {
    LayoutExchange::new("", Topology::new())
}

/// Returns the queue that the servers of a service share. Every peer repeats its declaration.
pub(super) fn request_queue(service: &Address, is_durable: bool) -> LayoutQueue {
    let queue = QueueDeclaration::new(service.as_str()).durable(is_durable);
    LayoutQueue::new(service.as_str(), Topology::new().queue(queue))
}

/// Returns the queue for the replies to the requester of this unique text.
pub(super) fn reply_queue(unique: &str) -> LayoutQueue {
    let name = reply_queue_name(unique);
    // By its kind: the default one of a virtual host may be a replicated queue.
    let queue = QueueDeclaration::new(&name).argument("x-queue-type", "classic");
    let queue = queue.argument("x-expires", REPLIES_EXPIRE_MS);
    LayoutQueue::new(name, Topology::new().queue(queue)).private()
}

/// Returns the name of that queue, which each request names.
pub(super) fn reply_queue_name(unique: &str) -> String {
    format!("amqprpc.reply-polywire-{unique}")
}
