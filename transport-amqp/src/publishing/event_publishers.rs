//! Publishers of events, one for each exchange.
//!
//! A user may lack the permission to write to an exchange, and an exchange may be deleted. The
//! broker then closes the channel of the refused event, with all its unconfirmed messages. So each
//! exchange has a channel of its own, on which a refusal meets only events of this exchange.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::transport::LogThrottle;
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep};

use super::confirmed_publisher::ConfirmedPublisher;
use crate::config::Config;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::lock::lock;
use crate::publishing::refused_message::is_neighbor;
use crate::topology::exchange_deletion_mark::ExchangeDeletionMark;
use crate::topology::{declare_exchange, lost_exchange_notice};
use crate::wire::OutgoingMessage;

/// The open publishers of events.
///
/// There is at most one publisher for each exchange, which all its senders share. The channels of a
/// publisher close with the last sender.
#[derive(Default)]
pub(crate) struct EventPublishers {
    /// Locked while a publisher is created. Entries of dropped publishers are removed then.
    open: Mutex<Vec<Weak<EventPublisher>>>,
    /// Signal for the subscribers of the transport that an exchange is missing.
    pub(crate) exchange_lost: Arc<Notify>,
}

impl EventPublishers {
    /// Returns the publisher of an exchange. Its first channel is opened in the background.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the connection has no room for another exchange.
    pub(crate) fn publisher(
        &self,
        exchange: ShortString,
        [publishing, consuming]: [&Arc<SupervisedConnection>; 2],
        config: &Config,
    ) -> Result<Arc<EventPublisher>> {
        let mut open = lock(&self.open);
        open.retain(|publisher| publisher.strong_count() > 0);
        let existing = open.iter().filter_map(Weak::upgrade);
        if let Some(existing) = existing.into_iter().find(|other| other.exchange == exchange) {
            return Ok(existing);
        }
        let reserved = publishing.reserve_channels(CHANNELS);
        let reserved = reserved.map_err(|error| error.with("exchange", &exchange))?;
        let publisher = Arc::new(EventPublisher {
            _reserved: reserved,
            publisher: ConfirmedPublisher::start(publishing.clone(), config, exchange.clone()),
            exchange,
            connection: consuming.clone(),
            publishing: publishing.clone(),
            noticed_within: config.topology_check,
            restoring: tokio::sync::Mutex::default(),
            missing_log: LogThrottle::new(),
            lost: self.exchange_lost.clone(),
        });
        open.push(Arc::downgrade(&publisher));
        Ok(publisher)
    }

    /// Closes all publishers, as [`ConfirmedPublisher::close`] does.
    pub(crate) fn close(&self) {
        for publisher in lock(&self.open).iter().filter_map(Weak::upgrade) {
            publisher.publisher.close();
        }
    }
}

/// The publisher of events to one exchange.
pub(crate) struct EventPublisher {
    /// Name of the topic exchange.
    pub(crate) exchange: ShortString,
    /// The channel of the exchange.
    pub(crate) publisher: ConfirmedPublisher,
    /// The channels of the publisher. After it, so that it has closed them first.
    _reserved: OwnedSemaphorePermit,
    /// Connection for declarations, which the broker never blocks.
    connection: Arc<SupervisedConnection>,
    /// Connection for notices to the subscribers.
    publishing: Arc<SupervisedConnection>,
    /// Time in which subscribers notice that the exchange is missing.
    noticed_within: Duration,
    /// Locked while a missing exchange is restored. Holds the time and the error of the last
    /// attempt that failed.
    restoring: tokio::sync::Mutex<Option<(Instant, Error)>>,
    /// Throttle for the log lines of events that find the exchange missing.
    missing_log: LogThrottle,
    /// Wakes the subscribers of the transport.
    lost: Arc<Notify>,
}

impl EventPublisher {
    /// Declares the exchange: creates it, or checks that it has the right type.
    ///
    /// A missing exchange may have been deleted, with the bindings of living subscribers. Queues
    /// take a notice about that; the exchange is then left to their subscribers for a second.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is an exchange of another type by this name, besides those of
    /// opening a channel.
    pub(crate) async fn declare(&self) -> Result<()> {
        if !declare_exchange::exists(&self.connection, &self.exchange).await?
            && self.send_notice().await
        {
            return self.restore_within(self.noticed_within.min(BOUND_WITHIN)).await;
        }
        declare_exchange::declare(&self.connection, &self.exchange).await
    }

    /// Publishes an event again whose first attempt failed with `refused`, if that is of use: the
    /// exchange was missing, or the broker refused another event on the channel. An event that was
    /// accepted and not confirmed by then arrives twice.
    ///
    /// There are up to 10 further attempts.
    ///
    /// # Errors
    ///
    /// Those of [`ConfirmedPublisher::publish`], and `refused` itself if the event is its cause.
    /// Dropping the future does not publish the event again.
    pub(crate) async fn publish_again(
        &self,
        event: OutgoingMessage,
        mut refused: Error,
    ) -> Result<()> {
        for _ in 0..AGAIN_MAX {
            if refused.kind() == ErrorKind::Config {
                self.restore().await?;
            } else if !is_neighbor(&refused) {
                break;
            }
            match self.publisher.publish(event.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Restores an exchange that is missing.
    ///
    /// Bindings are deleted with their exchange. An exchange without bindings would accept events
    /// that no subscriber receives. So the subscribers get the time in which they notice: each of
    /// them declares the exchange together with its bindings. If none does, there is none.
    ///
    /// Events that waited for an attempt share its failure. Otherwise each would wait for the
    /// subscribers in turn, as long as the exchange stays missing.
    async fn restore(&self) -> Result<()> {
        if let Some(count) = self.missing_log.note() {
            tracing::warn!(exchange = %self.exchange, count, "the exchange of a channel is missing");
        }
        let since = Instant::now();
        let mut last_failure = self.restoring.lock().await;
        if let Some((_, error)) = last_failure.as_ref().filter(|(at, _)| *at >= since) {
            return Err(error.clone());
        }
        // Not both: a subscriber would report the loss twice.
        if !self.send_notice().await {
            self.lost.notify_waiters();
        }
        let restored = self.restore_within(self.noticed_within).await;
        *last_failure = restored.clone().err().map(|error| (Instant::now(), error));
        restored
    }

    /// Waits until a subscriber has declared the exchange. Declares it after `limit`.
    ///
    /// On success the exchange exists. If no subscriber has bound its queue again, the log has an
    /// error. After the declaration, further subscribers get half a second.
    async fn restore_within(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while !declare_exchange::exists(&self.connection, &self.exchange).await? {
            if Instant::now() >= end {
                declare_exchange::declare(&self.connection, &self.exchange).await?;
                // For subscribers that may not declare the exchange.
                if !self.send_notice().await {
                    return Ok(());
                }
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
        // All subscribers have the notice, and one of them was first. The others bind meanwhile.
        sleep(SETTLE_TIME).await;
        if !ExchangeDeletionMark::new(self.exchange.clone()).is_set(&self.connection).await? {
            tracing::error!(
                exchange = %self.exchange,
                "the exchange was missing, and no subscriber has bound its queue again: events do not reach the queues of the channel until a subscriber is opened"
            );
        }
        Ok(())
    }

    /// Notifies the subscribers of all programs that the exchange is missing. Returns whether a
    /// queue has taken the notice.
    async fn send_notice(&self) -> bool {
        lost_exchange_notice::send(&self.publishing, &self.exchange, 0).await.unwrap_or_else(
            |error| {
                tracing::debug!(
                    ?error,
                    exchange = %self.exchange,
                    "cannot send the notice of a lost exchange"
                );
                false
            },
        )
    }
}

/// Channels of an exchange: one for its events, and one for those that may be too large.
const CHANNELS: u32 = 2;
/// The most times that an event is published again.
pub(crate) const AGAIN_MAX: u32 = 10;
/// Pause between two looks for the exchange.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The time in which a subscriber with a notice binds its queue, before a new publisher declares
/// the exchange by itself.
const BOUND_WITHIN: Duration = Duration::from_secs(1);
/// The time that is left to further subscribers once one has declared the exchange.
const SETTLE_TIME: Duration = Duration::from_millis(500);
