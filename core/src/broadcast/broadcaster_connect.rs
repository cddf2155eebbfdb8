//! Connecting a broadcaster to a service.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::task::coop::consume_budget;

use super::broadcaster::{Broadcaster, BroadcasterShared};
use super::broadcaster_state::BroadcasterState;
use super::envelope::{CallerEvent, PRESENCE_TOPIC, channel, outcome_topic};
use super::instance_event_reader::read;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::{Address, Filter, MessageId};
use crate::pubsub::{EventStream, Overflow};
use crate::transport::{
    AnyTransport, DEFAULT_TIMEOUT, Subscription, Transport, WireKind, log_sent,
};

impl<D: Dialect> Broadcaster<D> {
    /// Connects to the broadcasts of `service` on `transport`, and asks which instances are there.
    ///
    /// Set options on the returned builder, then await it. Connecting succeeds without an instance.
    /// Dropping the future closes what was opened so far.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `service` is not an address,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on a transport without
    /// publish-subscribe, or the error of the transport if it cannot connect.
    pub fn connect<T: Transport>(
        transport: &T,
        service: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> BroadcasterConnect<'_, T, D> {
        BroadcasterConnect {
            transport,
            service: service.try_into().map_err(Into::into),
            dialect,
            timeout: DEFAULT_TIMEOUT,
            discovery_time: DISCOVERY_TIME,
            publishing: None,
        }
    }
}

/// Builder that connects a broadcaster when it is awaited; made by [`Broadcaster::connect`].
#[must_use = "a broadcaster does not connect unless it is awaited"]
pub struct BroadcasterConnect<'t, T, D> {
    transport: &'t T,
    service: Result<Address>,
    dialect: D,
    timeout: Duration,
    discovery_time: Duration,
    publishing: Option<AnyTransport>,
}

/// The default time until all instances have answered a new broadcaster.
const DISCOVERY_TIME: Duration = Duration::from_millis(500);

impl<T, D> BroadcasterConnect<'_, T, D> {
    /// Sets the time after which a gathering ends. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the time, counted from the connecting, within which the instances that are there
    /// answer. The default is 500 ms, and the longest time [`Deadline::MAX`](crate::Deadline::MAX).
    /// It applies once more after all instances have been silent for two heartbeats.
    ///
    /// A gathering does not end as complete before, unless the caller named the instances.
    /// Connecting and sending do not wait for it.
    pub fn discovery_time(self, time: Duration) -> Self {
        Self { discovery_time: time, ..self }
    }

    /// Sets the transport on which calls are published; see
    /// [`BroadcastBind::publish_on`](super::BroadcastBind::publish_on).
    pub fn publish_on(self, transport: &(impl Transport + Clone)) -> Self {
        Self { publishing: Some(AnyTransport::new(transport.clone())), ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for BroadcasterConnect<'t, T, D> {
    type Output = Result<Broadcaster<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, service, dialect, timeout, discovery_time, publishing } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let service = service?;
            if !transport.capabilities().pubsub {
                return Err(Error::lacking("Broadcaster::connect", "pubsub"));
            }
            let channel = channel(&service)?;
            let inbox = MessageId::unique().to_string();
            let outcomes = outcome_topic(&inbox)?;
            let filters = [Filter::new(outcomes.as_str())?, Filter::new(PRESENCE_TOPIC)?];
            let option = "Broadcaster::connect";
            let subscription = Subscription::new(filters);
            let events =
                EventStream::open(transport, &channel, subscription, Overflow::Wait, option)
                    .await?;
            let sender = match &publishing {
                Some(publishing) => publishing.publisher(&channel).await?,
                None => transport.publisher(&channel).await?,
            };
            let sender = log_sent(sender, WireKind::Event, &channel);
            sender.send_within(CallerEvent::query()?, timeout).await?;
            let state = Arc::new(BroadcasterState::new(discovery_time));
            let reading = read(events.receiver, state.clone(), sender.clone());
            // The task is aborted with the last clone.
            let reader = tokio::spawn(reading).abort_handle();
            let shared = BroadcasterShared { service, sender, inbox, state, reader };
            Ok(Broadcaster { shared: Arc::new(shared), dialect, timeout, trace: None })
        })
    }
}

impl<T, D> fmt::Debug for BroadcasterConnect<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcasterConnect").field("service", &self.service).finish_non_exhaustive()
    }
}
