//! Opening of subscribers.

use std::sync::Arc;

use polywire_core::transport::{Filters, Receiver, Subscription};
use polywire_core::{Address, Result};

use super::event_queue::EventQueue;
use super::filter_bindings::Bindings;
use crate::consuming::open_consumer;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::event_queue_specs;

/// Opens a subscriber of `channel`. Each event that is published after this returns is received.
///
/// Another task then checks the bindings at each interval, until the subscriber or the transport is
/// closed.
///
/// # Errors
///
/// Those of declaring, binding and consuming the queue. Dropping the future stops the consumer and
/// deletes the queue, unless it is the queue of a group.
pub(crate) async fn open(
    shared: &Arc<AmqpShared>,
    channel: &Address,
    subscription: Subscription,
) -> Result<(Receiver, Filters)> {
    let Subscription { filters, group, window, .. } = subscription;
    let queue = match &group {
        Some(group) => {
            let queue = event_queue_specs::of_group(&shared.config.queues, channel, group)?;
            queue.check_names()?;
            queue
        }
        None => event_queue_specs::own(channel)?,
    };
    let requeue_mode = match &group {
        Some(_) => RequeueMode::counting(&queue.options),
        None => RequeueMode::Broker,
    };
    let (exchange, filters) = (shared.config.event_exchange_names.of(channel)?, filters);
    let is_private = group.is_none();
    if is_private {
        // Deleted by `close` of the event queue, also if opening fails or is dropped.
        shared.add_private_queue(&queue);
    }
    let event_queue = Arc::new(EventQueue::new(
        channel.clone(),
        queue,
        exchange,
        filters,
        requeue_mode,
        shared.publishing_connection.clone(),
    ));
    let receiver = open_consumer::open(shared, event_queue.clone(), window).await?;
    let watching = tokio::spawn(event_queue.clone().watch_bindings(shared.clone()));
    shared.tasks.add(watching.abort_handle());
    Ok((receiver, Filters::new(Bindings { shared: shared.clone(), event_queue })))
}
