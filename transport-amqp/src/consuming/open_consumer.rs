//! Opening of consumers: a queue, a supervised channel, and a window.

use std::sync::Arc;

use polywire_core::health::{ConnectionState, HealthReporter, PendingCanaries};
use polywire_core::transport::Receiver;
use polywire_core::{Deadline, ErrorKind, Result, Window};
use tokio::sync::{mpsc, oneshot};

use crate::common_errors::closed;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::acker::ChannelAcker;
use crate::consuming::batched_deliveries::{BatchSetup, BatchedDeliveries};
use crate::consuming::canary_sender::QueueProbe;
use crate::consuming::cancellation::listener::Control;
use crate::consuming::consumed_queue::{ConsumedQueue, HealthEntry};
use crate::consuming::consumer_task::ConsumerTask;
use crate::consuming::delivery_stream::Deliveries;
use crate::consuming::republisher::Republisher;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::declare_queue::declare;
use crate::topology::queue_spec::QueueSpec;

/// Opens the receiving half of an endpoint handle. The consumer is registered when this returns.
///
/// # Errors
///
/// Those of declaring, binding or consuming the queue; [`ErrorKind::Closed`] if the transport
/// closes meanwhile; [`ErrorKind::Config`] if the connection has no channel left for a consumer;
/// [`ErrorKind::Denied`] without the right to keep dead letters of jobs and events. If the future
/// is dropped, the consumer task ends by itself.
pub(crate) async fn open<S: ConsumedQueue>(
    shared: &Arc<AmqpShared>,
    consumed: Arc<S>,
    window: Window,
) -> Result<Receiver> {
    open_deliveries(shared, consumed, window, None).await.map(Receiver::new)
}

/// Opens a receiving half like [`open`], with the messages of the clients of a server, and with
/// batches of calls if there is a `setup` for them.
pub(crate) async fn open_server<S: ConsumedQueue>(
    shared: &Arc<AmqpShared>,
    consumed: Arc<S>,
    window: Window,
    control: Control,
    setup: Option<BatchSetup>,
) -> Result<Receiver> {
    let deliveries = open_deliveries(shared, consumed, window, Some(control)).await?;
    Ok(match setup {
        Some(setup) => BatchedDeliveries::open(deliveries, setup),
        None => Receiver::new(deliveries),
    })
}

/// Opens the stream of a receiving half.
///
/// The consumer task and the returned stream share a buffer, the acker and the republisher. The
/// task holds one reserved channel of the consuming connection until its end.
async fn open_deliveries<S: ConsumedQueue>(
    shared: &Arc<AmqpShared>,
    consumed: Arc<S>,
    window: Window,
    control: Option<Control>,
) -> Result<Deliveries> {
    // The opening future waits twice as long, so it gets the reason of the last failure.
    let opening_limit = Deadline::after(shared.config.connect_timeout / 2);
    let name = consumed.queue().name.clone();
    let reserved = shared.consuming_connection.reserve_channels(1);
    let reserved = reserved.map_err(|error| error.with("queue", name))?;
    let acker = ChannelAcker::start();
    shared.add_acker(&acker);
    let suspects = match consumed.requeue_mode() {
        RequeueMode::Broker => None,
        _ => {
            let needs_right = consumed.requeue_mode().dead_letters_undecodable();
            check_dead_letters(&shared.consuming_connection, consumed.queue(), needs_right).await?;
            usable_suspects(&shared.consuming_connection, consumed.queue()).await?
        }
    };
    // The broker sends no more than the window, and one suspect.
    let (sender, fetched) = mpsc::channel(window.messages() + 1);
    let ((stop, stopped), (started, ready)) = (oneshot::channel(), oneshot::channel());
    let republisher = Republisher::new(
        shared.clone(),
        acker.clone(),
        consumed.queue().clone(),
        suspects,
        consumed.requeue_mode(),
    );
    let kind = consumed.queue().options.queue_kind();
    let canaries = PendingCanaries::default();
    let (role, name) = consumed.endpoint();
    let registry = shared.broadcast.health();
    let health = match S::HEALTH {
        HealthEntry::Probed => {
            let probe = QueueProbe::new(shared.clone(), consumed.queue(), canaries.clone());
            registry.endpoint(role, name, Some(Arc::new(probe)))
        }
        HealthEntry::Unprobed => registry.endpoint(role, name, None),
        // In a registry that nothing reads.
        HealthEntry::None => {
            HealthReporter::new(ConnectionState::Connected).endpoint(role, name, None)
        }
    };
    let counts_attempts = consumed.requeue_mode().counts_attempts(kind);
    let mut deliveries = Deliveries {
        shared: shared.clone(),
        fetched: Some((fetched, stop)),
        acker: acker.clone(),
        republisher: republisher.clone(),
        counts_attempts,
        has_failed: false,
        health: health.clone(),
        canaries,
        control,
    };
    let task = ConsumerTask {
        shared: shared.clone(),
        consumed,
        acker,
        republisher,
        window,
        health,
        opening_limit,
        sender,
    };
    let running = async move {
        let _reserved = reserved;
        task.run(started, stopped).await;
    };
    shared.tasks.add(tokio::spawn(running).abort_handle());
    ready.await.map_err(|_| closed())??;
    // The first registration has found out whether suspects can be isolated.
    deliveries.counts_attempts |= deliveries.republisher.suspects().is_some();
    Ok(deliveries)
}

/// Checks that the dead-letter queue of `queue`, if it exists, has the options that dead letters
/// need: otherwise the broker would keep none. A missing queue is declared with the first dead
/// letter, for which the user needs the right. A server does without, with a line in the log.
///
/// # Errors
///
/// [`ErrorKind::Config`] with the name of the dead-letter queue,
/// [`ErrorKind::Denied`] without the right if it is needed.
async fn check_dead_letters(
    connection: &SupervisedConnection,
    queue: &QueueSpec,
    needs_right: bool,
) -> Result<()> {
    // Queues whose names leave no room were refused, or have no dead letters.
    let Ok(dead_letters) = queue.dead_letter_queue() else { return Ok(()) };
    let checking = async {
        let exists = match dead_letters.exists(&connection.channel().await?).await {
            // RabbitMQ 4.3 answers so for a missing queue that the user may not declare.
            Err(error) if error.kind() == ErrorKind::Denied => false,
            exists => exists?,
        };
        if exists {
            return declare(connection, &dead_letters).await;
        }
        // A program that declares nothing has said so.
        if queue.options.is_passive() {
            return Ok(());
        }
        match dead_letters.check_right_to_declare(&connection.channel().await?).await {
            Err(error) if error.kind() == ErrorKind::Denied && !needs_right => {
                tracing::warn!(?error, queue = %queue.name, "no dead letters of the queue are kept");
                Ok(())
            }
            checked => checked,
        }
    };
    connection
        .unless_lost(checking)
        .await
        .map_err(|error| error.with("dead_letters_of", &queue.name))
}

/// Returns the queue for the suspects of `queue`, if this user may use it. Suspects are not
/// isolated if that queue cannot be declared, for instance without the right to do so. If the
/// broker does not answer for that queue, the opening fails, as for any other queue.
///
/// Declares `queue` first: an error of its options has to name that queue, and must not leave a
/// queue of suspects with the same options.
async fn usable_suspects(
    connection: &SupervisedConnection,
    queue: &QueueSpec,
) -> Result<Option<QueueSpec>> {
    let Some(suspects) = queue.suspects_queue()? else { return Ok(None) };
    connection.unless_lost(declare(connection, queue)).await?;
    match connection.unless_lost(declare(connection, &suspects)).await {
        Ok(()) => Ok(Some(suspects)),
        Err(error) if !error.is_transient() => {
            tracing::warn!(?error, queue = %suspects.name, "messages that end their processes are not isolated");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
