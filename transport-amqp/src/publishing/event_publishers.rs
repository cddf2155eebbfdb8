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
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::confirmed_publisher::ConfirmedPublisher;
use crate::config::Config;
use crate::connection::supervised::SupervisedConnection;
use crate::error::lock;
use crate::publishing::refusal::is_neighbour;
use crate::topology::{exchange, lost_exchange};
use crate::wire::OutgoingMessage;

/// The open publishers of events.
#[derive(Default)]
pub(crate) struct EventPublishers {
    open: Mutex<Vec<Weak<EventPublisher>>>,
    /// Signal for the subscribers of the transport that an exchange is missing.
    pub(crate) exchange_lost: Arc<Notify>,
}

impl EventPublishers {
    /// Returns the publisher of an exchange. Its first channel is opened in the background.
    pub(crate) fn publisher(
        &self,
        exchange: ShortString,
        [publishing, consuming]: [&Arc<SupervisedConnection>; 2],
        config: &Config,
    ) -> Arc<EventPublisher> {
        let mut open = lock(&self.open);
        open.retain(|publisher| publisher.strong_count() > 0);
        let existing = open.iter().filter_map(Weak::upgrade);
        if let Some(existing) = existing.into_iter().find(|other| other.exchange == exchange) {
            return existing;
        }
        let publisher = Arc::new(EventPublisher {
            publisher: ConfirmedPublisher::start(publishing.clone(), config, exchange.clone()),
            exchange,
            connection: consuming.clone(),
            noticed_within: config.topology_check,
            restoring: tokio::sync::Mutex::default(),
            lost: self.exchange_lost.clone(),
            missing: LogThrottle::new(),
        });
        open.push(Arc::downgrade(&publisher));
        publisher
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
    /// Connection for declarations, which the broker never blocks.
    connection: Arc<SupervisedConnection>,
    /// Time in which subscribers notice that the exchange is missing.
    noticed_within: Duration,
    /// Locked while a missing exchange is restored.
    restoring: tokio::sync::Mutex<()>,
    /// Wakes the subscribers of the transport.
    lost: Arc<Notify>,
    /// Throttle for the log line of a missing exchange.
    missing: LogThrottle,
}

impl EventPublisher {
    /// Declares the exchange: creates it, or checks that it has the right type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is an exchange of another type by this name, besides those of
    /// opening a channel.
    pub(crate) async fn declare(&self) -> Result<()> {
        exchange::declare(&self.connection, &self.exchange).await
    }

    /// Publishes an event again whose first attempt failed with `refused`, if that is of use: the
    /// exchange was missing, or the broker refused another event on the channel. An event that was
    /// accepted and not confirmed by then arrives twice.
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
            } else if !is_neighbour(&refused) {
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
    /// that nobody receives. So the subscribers are given the time in which they notice: each of
    /// them declares the exchange together with its bindings. If none does, there is none.
    async fn restore(&self) -> Result<()> {
        let _restoring = self.restoring.lock().await;
        if let Some(count) = self.missing.note() {
            tracing::warn!(exchange = %self.exchange, count, "the exchange of a channel is missing");
        }
        let end = Instant::now() + self.noticed_within;
        self.lost.notify_waiters();
        while !exchange::exists(&self.connection, &self.exchange).await? {
            if Instant::now() >= end {
                self.declare().await?;
                // For subscribers with a longer interval.
                return lost_exchange::tell(&self.connection, &self.exchange, 0).await.or_else(|error| {
                    tracing::debug!(?error, exchange = %self.exchange, "cannot tell of a lost exchange");
                    Ok(())
                });
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// The most times that an event is published again.
const AGAIN_MAX: u32 = 10;
/// Pause between two looks for the exchange.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
