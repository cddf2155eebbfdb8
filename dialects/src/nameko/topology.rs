//! nameko's queues and exchanges.

use polywire_amqp::{
    BindingDeclaration, EventConsumer, ExchangeDeclaration, ExchangeKind, LayoutExchange,
    LayoutQueue, QueueDeclaration, Topology,
};
use polywire_core::{Address, Error, ErrorKind, Result};

/// Name of the [group](polywire_core::Group) that stands for nameko's handlers of type `SINGLETON`:
/// one queue for each type of event, whose handlers share the events across all services.
pub const SINGLETON: &str = "nameko.singleton";

/// Expiry of the reply queue of a client that is gone, in milliseconds, as nameko sets it.
const REPLIES_EXPIRE_MS: i32 = 300_000;
/// Expiry of the queue of a subscriber without a group that is gone, in milliseconds.
const BROADCAST_EXPIRE_MS: i32 = 60_000;

/// Returns the exchange of all calls.
pub(super) fn rpc_exchange(exchange: &str) -> LayoutExchange {
    LayoutExchange::new(exchange, declared(exchange))
}

/// Returns the queue that the servers of a service share.
pub(super) fn request_queue(exchange: &str, service: &Address) -> LayoutQueue {
    let name = format!("rpc-{service}");
    let binding = BindingDeclaration::queue(exchange, &name).routing_key(format!("{service}.*"));
    let topology = declared(exchange).queue(QueueDeclaration::new(&name)).binding(binding);
    LayoutQueue::new(name, topology)
}

/// Returns the queue for the replies to the requester of this unique text.
pub(super) fn reply_queue(exchange: &str, unique: &str) -> LayoutQueue {
    let name = format!("rpc.reply-polywire-{unique}");
    let queue = QueueDeclaration::new(&name).argument("x-expires", REPLIES_EXPIRE_MS);
    let binding = BindingDeclaration::queue(exchange, &name).routing_key(unique);
    LayoutQueue::new(name, declared(exchange).queue(queue).binding(binding)).private()
}

/// Returns the exchange of the events that a service dispatches.
pub(super) fn event_exchange(source: &Address) -> LayoutExchange {
    let name = format!("{source}.events");
    let topology = declared(&name);
    LayoutExchange::new(name, topology)
}

/// Returns the queue of a handler of events.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] for more than one filter, by which nameko cannot name a queue, and
/// for a group that is not durable and a singleton.
pub(super) fn event_queue(consumer: &EventConsumer<'_>) -> Result<LayoutQueue> {
    let [filter] = consumer.filters else {
        let text = "cannot subscribe: a handler of nameko has one type of events";
        let error = Error::new(ErrorKind::Unsupported, text);
        return Err(error.with("filters", consumer.filters.len()).unsent());
    };
    let (exchange, base) =
        (format!("{}.events", consumer.channel), format!("evt-{}-{filter}", consumer.channel));
    let name = match consumer.group {
        Some(group) if group.as_str() == SINGLETON => base,
        Some(group) => format!("{base}--{group}"),
        None => format!("{base}--polywire-{}", consumer.unique),
    };
    let queue = QueueDeclaration::new(&name);
    let queue = match consumer.group {
        Some(_) if consumer.is_durable => queue,
        Some(_) => queue.auto_delete(),
        None => queue.argument("x-expires", BROADCAST_EXPIRE_MS),
    };
    let binding = BindingDeclaration::queue(&exchange, &name).routing_key(filter.as_str());
    let queue = LayoutQueue::new(name, declared(&exchange).queue(queue).binding(binding));
    Ok(if consumer.group.is_some() { queue } else { queue.private() })
}

/// Returns the declaration of a durable topic exchange.
fn declared(exchange: &str) -> Topology {
    Topology::new().exchange(ExchangeDeclaration::new(exchange, ExchangeKind::Topic))
}
