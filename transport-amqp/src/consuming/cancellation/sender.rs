//! The client's side of cancellations.

use std::sync::Arc;

use lapin::Channel;
use lapin::options::BasicPublishOptions;
use polywire_core::Result;
use tokio::sync::mpsc;

use crate::connection::backoff::{PAUSE_MIN, pause};
use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::failed;
use crate::tasks::Tasks;
use crate::wire::OutgoingMessage;

/// Bounded queue of cancellations, and the task that publishes them. The denials in place of
/// requesters that are gone take the same way.
pub(crate) struct CancelSender(mpsc::Sender<OutgoingMessage>);

impl CancelSender {
    /// Starts the task that publishes. Panics outside of a runtime.
    pub(crate) fn start(connection: Arc<SupervisedConnection>, tasks: &Tasks) -> Self {
        let (sender, cancellations) = mpsc::channel(QUEUED_MAX);
        tasks.add(tokio::spawn(run(connection, cancellations)).abort_handle());
        Self(sender)
    }

    /// Queues a cancellation, or drops it if 1,024 are queued already. Does not wait.
    pub(crate) fn send(&self, cancellation: OutgoingMessage) {
        if self.0.try_send(cancellation).is_err() {
            tracing::debug!("cannot cancel a call at its server: too many cancellations queued");
        }
    }
}

/// Publishes cancellations on a channel of their own, which the first of them opens. Without a
/// connection, they stay in the queue.
///
/// A cancellation that fails is dropped, and the next one gets another channel.
async fn run(
    connection: Arc<SupervisedConnection>,
    mut cancellations: mpsc::Receiver<OutgoingMessage>,
) {
    let mut channel = None;
    while let Some(cancellation) = cancellations.recv().await {
        let publishing = open_and_publish(&connection, &mut channel, cancellation);
        if let Err(error) = connection.unless_lost(publishing).await {
            tracing::debug!(?error, "cannot cancel a call at its server");
            channel = None;
            pause(PAUSE_MIN).await;
        }
    }
}

/// Publishes on the open channel, or opens one first. On an error, the channel is gone.
async fn open_and_publish(
    connection: &SupervisedConnection,
    channel: &mut Option<Channel>,
    cancellation: OutgoingMessage,
) -> Result<()> {
    let open = match channel.take().filter(|open| open.status().connected()) {
        Some(open) => open,
        None => connection.channel().await?,
    };
    publish(channel.insert(open), cancellation).await
}

/// Publishes without the mandatory flag and without a confirm.
async fn publish(channel: &Channel, mut cancellation: OutgoingMessage) -> Result<()> {
    // Writes the expiration of a denial. A cancellation has no deadline.
    cancellation.stamp(None, || 0);
    let OutgoingMessage { exchange, routing_key, properties, body, .. } = cancellation;
    let options = BasicPublishOptions::default();
    let publishing = channel.basic_publish(exchange, routing_key, options, &body, properties);
    publishing.await.map_err(|error| failed("cannot publish a cancellation", &error))?;
    Ok(())
}

/// The most cancellations that wait to be published. Further ones are dropped.
const QUEUED_MAX: usize = 1024;
