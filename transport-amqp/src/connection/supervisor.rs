//! The task behind a [`SupervisedConnection`]: notices a lost connection and reconnects.
//!
//! A loss is noticed in three ways: an event of the engine, a suspicion that another task reports,
//! and a check once a second. The engine has no event for some of the ways in which a connection
//! ends.
//!
//! [`SupervisedConnection`]: crate::connection::supervised_connection::SupervisedConnection

use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;
use lapin::{Connection, Event};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::connection::backoff::ReconnectBackoff;
use crate::connection::brokers::Brokers;
use crate::connection::connection_log::ConnectionLog;
use crate::connection::engine_connection::OpenConnection;
use crate::connection::event_broadcast::ConnectionEventBroadcast;
use crate::connection::inbound_filter::fatal_message_search::FoundQueue;
use crate::connection_events::{ConnectionChange, ConnectionRole};
use crate::engine_cause::EngineCause;
use crate::engine_error::channel_error;
use crate::url::BrokerAddress;

/// State of a supervised connection.
#[derive(Clone)]
pub(super) enum SupervisedState {
    /// Connected, as far as is known. The status of the connection itself may already say
    /// otherwise.
    Up(OpenConnection),
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
    /// Log of the connection.
    pub(super) log: ConnectionLog,
    /// Receiver of each change.
    pub(super) broadcast: ConnectionEventBroadcast,
    /// State for the handle.
    pub(super) state: watch::Sender<SupervisedState>,
    /// True while the broker accepts messages.
    pub(super) flow: watch::Sender<bool>,
    /// Request of the handle for a check.
    pub(super) suspicion: Arc<Notify>,
}

impl Supervisor {
    /// Watches the connection and reconnects, until the broker has refused for too long. The handle
    /// aborts the task on close and on drop.
    ///
    /// The handle sees each new state before the change is broadcast. A connection that
    /// lasted less than 5 seconds is followed by a pause; after any other loss, the first attempt
    /// follows at once.
    pub(super) async fn run(mut self, mut connection: OpenConnection) {
        let mut backoff = ReconnectBackoff::up_to(self.config.heartbeat().pause_max());
        loop {
            let since = Instant::now();
            let reason = self.until_lost(&connection).await;
            drop(connection);
            self.state.send_replace(SupervisedState::Down);
            self.log.lost(&reason);
            self.broadcast.publish(self.role, ConnectionChange::Lost(reason));
            if since.elapsed() >= STABLE_AFTER || self.config.connections.is_given() {
                backoff.reset();
            } else {
                // A broker that accepts and disconnects at once must not be flooded with attempts.
                backoff.wait().await;
            }
            connection = match self.reconnect(&mut backoff).await {
                Ok(connection) => connection,
                Err(refusal) => {
                    self.state.send_replace(SupervisedState::Refused(refusal.clone()));
                    return self.broadcast.publish(self.role, ConnectionChange::Refused(refusal));
                }
            };
            self.state.send_replace(SupervisedState::Up(connection.clone()));
            let BrokerAddress { host, port } = self.brokers.current().clone();
            self.broadcast.publish(self.role, ConnectionChange::Restored { host, port });
        }
    }

    /// Waits until the connection is lost. Returns the cause, if the engine reported any.
    ///
    /// Alarms are published meanwhile. An end by the engine goes to the search for fatal messages.
    async fn until_lost(&mut self, connection: &Connection) -> Error {
        let mut events = Box::pin(connection.events_listener());
        let mut reason = None;
        // The broker may have blocked this connection before there was a listener, and the last
        // connection may have ended while blocked.
        self.set_flow(connection);
        while connection.status().connected() {
            tokio::select! {
                biased;
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(why) => {
                        self.log.blocked(&why);
                        self.flow.send_replace(false);
                        self.broadcast.publish(self.role, ConnectionChange::Blocked(why));
                    }
                    Event::ConnectionUnblocked => {
                        self.log.unblocked();
                        self.flow.send_replace(true);
                        self.broadcast.publish(self.role, ConnectionChange::Unblocked);
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
                    self.log.check_alarm();
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
    fn set_flow(&mut self, connection: &Connection) {
        let flows = !connection.status().blocked();
        if !self.flow.send_if_modified(|flowed| std::mem::replace(flowed, flows) != flows) {
            return;
        }
        let change = match flows {
            true => {
                self.log.unblocked();
                ConnectionChange::Unblocked
            }
            false => {
                let reason = "the broker has an alarm";
                self.log.blocked(reason);
                ConnectionChange::Blocked(reason.to_owned())
            }
        };
        self.broadcast.publish(self.role, change);
    }

    /// Tries the brokers in turn at growing intervals, until one accepts or all have refused for
    /// longer than `give_up_after`.
    ///
    /// A refusal may pass. The broker's authentication backend may be unreachable for a moment, or
    /// dead connections may still count against a connection limit.
    ///
    /// A failure that is no refusal starts the time of `give_up_after` anew. So with several
    /// brokers, a single unreachable broker keeps the transport trying.
    async fn reconnect(&mut self, backoff: &mut ReconnectBackoff) -> Result<OpenConnection> {
        let mut refused_since = None;
        loop {
            match self.brokers.connect(&self.config, self.role).await {
                Ok(connection) => {
                    let BrokerAddress { host, port } = self.brokers.current();
                    self.log.restored(host, *port);
                    return Ok(connection);
                }
                // The program has handed the connection in, and there is no other.
                Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
                Err(error) if error.kind() == ErrorKind::Denied => {
                    let is_first = self.broadcast.attempt_failed(self.role, &error);
                    if refused_since.get_or_insert_with(Instant::now).elapsed()
                        >= self.config.give_up_after
                    {
                        return Err(error);
                    }
                    match is_first {
                        true => self.log.refused(&error, self.config.give_up_after),
                        false => self.log.attempt_failed(&error),
                    }
                }
                Err(error) => {
                    refused_since = None;
                    self.broadcast.attempt_failed(self.role, &error);
                    self.log.attempt_failed(&error);
                }
            }
            backoff.wait().await;
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

/// Age at which a connection counts as stable, so that the next reconnect starts without a pause.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Interval of the regular check.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for the event of a connection that has ended; there may be none.
const EVENT_MAX: Duration = Duration::from_millis(100);
