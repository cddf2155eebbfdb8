//! The task behind a [`SupervisedConnection`]: notices a lost connection and reconnects.
//!
//! A loss is noticed in three ways: an event of the engine, a suspicion that another task reports,
//! and a check once a second. The engine has no event for some of the ways in which a connection
//! ends.
//!
//! [`SupervisedConnection`]: crate::connection::supervised::SupervisedConnection

use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;
use lapin::{Connection, Event};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::connection::backoff::Backoff;
use crate::connection::brokers::Brokers;
use crate::connection::inbound::fatal_search::FoundQueue;
use crate::connection::monitor::ConnectionMonitor;
use crate::connection_events::{ConnectionChange, ConnectionRole};
use crate::engine_cause::EngineCause;
use crate::error::channel_error;
use crate::url::BrokerAddress;

/// State of a supervised connection.
#[derive(Clone)]
pub(super) enum ConnectionState {
    /// Connected, as far as is known. The status of the connection itself may already say
    /// otherwise.
    Up(Arc<Connection>),
    /// Lost, and reconnecting.
    Down,
    /// No more reconnects: the broker refused for too long. The state is final, and the supervisor
    /// has ended.
    Refused(Error),
}

/// Supervisor of one connection: the sending sides of everything that the handle watches.
///
/// Each connection has one supervisor, which runs as a task of its own. When the task is aborted
/// while the connection is down, each wait for a channel fails as `Closed`.
pub(super) struct Supervisor {
    /// Settings for each attempt to reconnect.
    pub(super) config: Config,
    /// Brokers to try in turn. The current one is the connected one.
    pub(super) brokers: Brokers,
    /// Role for events, log and the connection's name.
    pub(super) role: ConnectionRole,
    /// Receiver of each change.
    pub(super) monitor: ConnectionMonitor,
    /// State for the handle.
    pub(super) state: watch::Sender<ConnectionState>,
    /// True while the broker accepts messages.
    pub(super) flow: watch::Sender<bool>,
    /// Request of the handle for a check.
    pub(super) suspicion: Arc<Notify>,
}

impl Supervisor {
    /// Watches the connection and reconnects, until the broker has refused for too long. The handle
    /// aborts the task on close and on drop.
    ///
    /// The handle sees each new state before the monitor broadcasts the change. A connection that
    /// lasted less than 5 seconds is followed by a pause; after any other loss, the first attempt
    /// follows at once.
    pub(super) async fn run(mut self, mut connection: Arc<Connection>) {
        let mut backoff = Backoff::up_to(self.config.heartbeat().pause_max());
        loop {
            let since = Instant::now();
            let reason = self.until_lost(&connection).await;
            drop(connection);
            self.state.send_replace(ConnectionState::Down);
            let outage = Outage::begin();
            self.monitor.publish(self.role, ConnectionChange::Lost(reason));
            if since.elapsed() >= STABLE_AFTER || self.config.connections.is_given() {
                backoff.reset();
            } else {
                // A broker that accepts and disconnects at once must not be flooded with attempts.
                backoff.wait().await;
            }
            connection = match self.reconnect(&mut backoff, outage).await {
                Ok(connection) => connection,
                Err(refusal) => {
                    self.state.send_replace(ConnectionState::Refused(refusal.clone()));
                    return self.monitor.publish(self.role, ConnectionChange::Refused(refusal));
                }
            };
            self.state.send_replace(ConnectionState::Up(connection.clone()));
            let BrokerAddress { host, port } = self.brokers.current().clone();
            self.monitor.publish(self.role, ConnectionChange::Restored { host, port });
        }
    }

    /// Waits until the connection is lost. Returns the cause, if the engine reported any.
    ///
    /// Alarms are published meanwhile. An end by the engine goes to the search for fatal messages.
    async fn until_lost(&self, connection: &Connection) -> Error {
        let mut events = Box::pin(connection.events_listener());
        let (mut reason, mut alarm) = (None, AlarmLog::default());
        // The broker may have blocked this connection before there was a listener, and the last
        // connection may have ended while blocked.
        self.set_flow(connection);
        while connection.status().connected() {
            tokio::select! {
                biased;
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(why) => {
                        self.flow.send_replace(false);
                        self.monitor.publish(self.role, ConnectionChange::Blocked(why));
                    }
                    Event::ConnectionUnblocked => {
                        self.flow.send_replace(true);
                        self.monitor.publish(self.role, ConnectionChange::Unblocked);
                    }
                    // Channel errors arrive as connection events too, so the loop checks the
                    // connection's status.
                    Event::Error(error) if channel_error(&error).is_none() => reason = Some(error),
                    _ => {}
                },
                () = self.suspicion.notified() => {}
                // The engine sends no event for some ways in which a connection ends.
                () = sleep(CHECK_INTERVAL) => {
                    self.set_flow(connection);
                    alarm.log(self.role, connection.status().blocked());
                }
            }
        }
        if reason.is_none() {
            // The engine changes the status a moment before it sends the event.
            reason = timeout(EVENT_MAX, last_error(&mut events)).await.ok().flatten();
        }
        if let Some(FoundQueue { queue, ends, treatment }) =
            self.brokers.search.note_end(reason.as_ref())
        {
            let error = reason.as_ref().map(EngineCause::of);
            tracing::error!(
                role = %self.role,
                queue,
                ends,
                error = error.map(tracing::field::display),
                %treatment,
                "a message of the queue ends the connections"
            );
        }
        let broker = self.brokers.current();
        let lost = match self.config.connections.name() {
            None => {
                let text = format!("the connection to the broker at {broker} was lost");
                Error::new(ErrorKind::Disconnected, text)
                    .with_named("host", &broker.host)
                    .with_named("port", broker.port)
            }
            Some(source) => {
                let text = "the connection that the program made was lost";
                Error::new(ErrorKind::Disconnected, text).with("source", source)
            }
        };
        match reason {
            _ if self.brokers.search.has_panicked() => lost.with_source("the AMQP engine panicked"),
            Some(reason) => lost.with_source(EngineCause::of(&reason)),
            None => lost,
        }
    }

    /// Notes whether the broker accepts messages. Does nothing if an event has said so.
    fn set_flow(&self, connection: &Connection) {
        let flows = !connection.status().blocked();
        if !self.flow.send_if_modified(|flowed| std::mem::replace(flowed, flows) != flows) {
            return;
        }
        self.monitor.publish(
            self.role,
            match flows {
                true => ConnectionChange::Unblocked,
                false => ConnectionChange::Blocked("the broker has an alarm".to_owned()),
            },
        );
    }

    /// Tries the brokers in turn at growing intervals, until one accepts or all have refused for
    /// longer than `give_up_after`.
    ///
    /// A refusal may pass. The broker's authentication backend may be unreachable for a moment, or
    /// dead connections may still count against a connection limit.
    ///
    /// A failure that is no refusal starts the time of `give_up_after` anew. So with several
    /// brokers, a single unreachable broker keeps the transport trying.
    async fn reconnect(
        &mut self,
        backoff: &mut Backoff,
        mut outage: Outage,
    ) -> Result<Arc<Connection>> {
        let mut refused_since = None;
        loop {
            match self.brokers.connect(&self.config, self.role).await {
                Ok(connection) => {
                    let BrokerAddress { host, port } = self.brokers.current();
                    tracing::info!(role = %self.role, host, port, outage_s = outage.seconds(), "reconnected");
                    return Ok(connection);
                }
                // The program has handed the connection in, and there is no other.
                Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
                Err(error) if error.kind() == ErrorKind::Denied => {
                    self.monitor.attempt_failed(self.role, &error);
                    if refused_since.get_or_insert_with(Instant::now).elapsed()
                        >= self.config.give_up_after
                    {
                        return Err(error);
                    }
                    outage.log_refusal(self.role, &error, self.config.give_up_after);
                }
                Err(error) => {
                    refused_since = None;
                    self.monitor.attempt_failed(self.role, &error);
                    outage.log_attempt(self.role, &error);
                }
            }
            backoff.wait().await;
        }
    }
}

/// Log lines of an alarm that goes on.
#[derive(Default)]
struct AlarmLog {
    /// The time of the first look, and of the last line.
    since: Option<(Instant, Instant)>,
}

impl AlarmLog {
    /// Logs a warning every 30 seconds while the broker accepts no messages.
    fn log(&mut self, role: ConnectionRole, is_blocked: bool) {
        if !is_blocked {
            self.since = None;
            return;
        }
        let now = Instant::now();
        let (since, warned) = self.since.get_or_insert((now, now));
        if warned.elapsed() >= WARN_INTERVAL {
            *warned = now;
            let blocked_s = since.elapsed().as_secs();
            tracing::warn!(%role, blocked_s, "the broker still accepts no messages");
        }
    }
}

/// Reads events up to an error that concerns the connection.
async fn last_error(events: &mut (impl Stream<Item = Event> + Unpin)) -> Option<lapin::Error> {
    while let Some(event) = events.next().await {
        match event {
            Event::Error(error) if channel_error(&error).is_none() => return Some(error),
            _ => {}
        }
    }
    None
}

/// An interval without a connection, for the log.
struct Outage {
    since: Instant,
    warned: Instant,
    /// Failed attempts so far.
    attempts: u64,
    /// Set after the first refusal: each outage has one error for refusals.
    is_refused: bool,
}

impl Outage {
    fn begin() -> Self {
        Self { since: Instant::now(), warned: Instant::now(), attempts: 0, is_refused: false }
    }

    /// Returns the length of the outage so far.
    fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// Logs a failed attempt: a warning every 30 seconds, debug otherwise.
    fn log_attempt(&mut self, role: ConnectionRole, error: &Error) {
        self.attempts += 1;
        if self.warned.elapsed() < WARN_INTERVAL {
            return tracing::debug!(%role, ?error, "cannot reconnect yet");
        }
        self.warned = Instant::now();
        let (outage_s, attempts) = (self.seconds(), self.attempts);
        tracing::warn!(%role, outage_s, attempts, ?error, "still not connected");
    }

    /// Logs an attempt that the broker refused: an error for the first one, and as any other failed
    /// attempt after that.
    fn log_refusal(&mut self, role: ConnectionRole, error: &Error, give_up_after: Duration) {
        if std::mem::replace(&mut self.is_refused, true) {
            return self.log_attempt(role, error);
        }
        self.attempts += 1;
        let give_up_after_s = give_up_after.as_secs();
        tracing::error!(%role, ?error, give_up_after_s, "the broker refused the connection; retrying");
    }
}

/// Age at which a connection counts as stable, so that the next reconnect starts without a pause.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Interval of the regular check.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for the event of a connection that has ended; there may be none.
const EVENT_MAX: Duration = Duration::from_millis(100);
/// Interval of the warnings during an outage or an alarm.
const WARN_INTERVAL: Duration = Duration::from_secs(30);
