//! Handle of a connection that reconnects by itself.
//!
//! The handle watches the state that the supervisor publishes. Opening a channel waits while the
//! connection is down, so a caller that must not wait sets a timeout of its own.

use std::sync::Arc;
use std::time::Duration;

use lapin::{Channel, Connection, ConnectionStatus};
use polywire_core::transport::LogThrottle;
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::common_errors::closed;
use crate::config::Config;
use crate::connection::broker_version::{BrokerVersion, CurrentVersion};
use crate::connection::brokers::Brokers;
use crate::connection::confirm_listeners::ConfirmListeners;
use crate::connection::connection_log::ConnectionLog;
use crate::connection::event_broadcast::ConnectionEventBroadcast;
use crate::connection::supervisor::{SupervisedState, Supervisor};
use crate::connection_events::{ConnectionChange, ConnectionRole};
use crate::engine_error::{channel_error, failed};
use crate::url::BrokerAddress;

/// A connection in one role, supervised by a task that reconnects whenever the connection is lost.
///
/// Dropping the handle aborts the task.
///
/// All endpoint handles of a transport share the value in an `Arc`. The methods only read the
/// state, which the supervisor alone changes.
pub(crate) struct SupervisedConnection {
    /// State as the supervisor last saw it.
    state: watch::Receiver<SupervisedState>,
    /// True while the broker accepts messages.
    flow: watch::Receiver<bool>,
    /// Version of the broker.
    version: CurrentVersion,
    /// Wakes the supervisor for a check.
    suspicion: Arc<Notify>,
    /// Channels that endpoint handles may still keep open.
    ///
    /// The first connection fixes the number: its `channel_max`, less 32 channels or half of them,
    /// if that is fewer.
    handle_channels: Arc<Semaphore>,
    /// Set for a connection that belongs to the program, which may use it for other things.
    is_given: bool,
    /// Use of the connection, for its log lines.
    role: ConnectionRole,
    /// Throttle for the log line of a broker that does not answer.
    unanswered_log: LogThrottle,
    /// Task that is aborted on close and on drop.
    supervisor: AbortHandle,
}

impl SupervisedConnection {
    /// Connects to the first broker that accepts, and starts the supervisor.
    ///
    /// The brokers of the URL are tried one after the other, each for the connect timeout.
    ///
    /// # Errors
    ///
    /// The error of the first broker of the URL, if none accepts. Dropping the future disconnects.
    pub(crate) async fn open(
        config: Config,
        role: ConnectionRole,
        broadcast: ConnectionEventBroadcast,
    ) -> Result<Self> {
        let mut brokers = Brokers::new(&config);
        let connection = brokers.connect_to_any(&config, role).await?;
        let is_given = config.connections.is_given();
        let BrokerAddress { host, port } = brokers.current().clone();
        let channel_max = usize::from(connection.configuration().channel_max());
        let handles_max = channel_max.saturating_sub(RESERVED_CHANNELS.min(channel_max / 2));
        tracing::info!(%role, host, port, "connected");
        broadcast.publish(role, ConnectionChange::Connected { host, port });
        let (state_sender, state) = watch::channel(SupervisedState::Up(connection.clone()));
        let (flow_sender, flow) = watch::channel(true);
        let (suspicion, version) = (Arc::new(Notify::new()), brokers.version.clone());
        let supervisor = Supervisor {
            config,
            brokers,
            role,
            log: ConnectionLog::new(role),
            broadcast,
            state: state_sender,
            flow: flow_sender,
            suspicion: suspicion.clone(),
        };
        Ok(Self {
            state,
            flow,
            version,
            suspicion,
            handle_channels: Arc::new(Semaphore::new(handles_max)),
            is_given,
            role,
            unanswered_log: LogThrottle::new(),
            supervisor: tokio::spawn(supervisor.run(connection)).abort_handle(),
        })
    }

    /// Opens a new channel, and waits for a connection first if there is none.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Closed`] if the connection was closed by its owner,
    /// - [`ErrorKind::Denied`] if the broker refused for longer than the configured time,
    /// - the failure of the channel itself.
    ///
    /// Dropping the future opens no channel, or closes the one that was opened.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        Ok(self.channel_with_status().await?.0)
    }

    /// Reserves channels for an endpoint handle, until the permit is dropped. Some channels of the
    /// connection stay reserved for declarations and other short uses.
    ///
    /// The call does not wait. A permit stands for a number and not for open channels, so it stays
    /// valid over a reconnect.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if handles use all other channels that the broker allows.
    pub(crate) fn reserve_channels(&self, number: u32) -> Result<OwnedSemaphorePermit> {
        self.handle_channels.clone().try_acquire_many_owned(number).map_err(|_| {
            let error = Error::new(
                ErrorKind::Config,
                "cannot open the endpoint handle: all channels of the connection are in use",
            );
            let limit = match &*self.state.borrow() {
                SupervisedState::Up(connection) => connection.configuration().channel_max(),
                _ => 0,
            };
            error
                .with("channel_max", limit)
                .with("then", "open another transport, or raise channel_max at the broker")
                .unsent()
        })
    }

    /// Waits until the connection was lost and is there again. A loss before the call does not
    /// count. Never resolves on a connection that has ended.
    pub(crate) async fn reconnected(&self) {
        let mut state = self.state.clone();
        let is_up = |state: &SupervisedState| matches!(state, SupervisedState::Up(_));
        let lost = state.wait_for(|state| !is_up(state)).await.map(drop);
        if lost.is_err() || state.wait_for(is_up).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Runs `setup` over this connection, and fails as soon as the connection is lost, or has not
    /// answered in time. The engine may never resolve a request that was made in the moment of the
    /// loss, and RabbitMQ 4 answers for a queue on a node that is down once the node is back.
    ///
    /// While the connection is down, the call first waits without a limit. On an error of the
    /// connection, `setup` is dropped, so each setup has to clean up in its drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the connection was lost, or after [`SETUP_MAX`], besides the
    /// errors of `setup`. A broker that does not answer has refused nothing, so this error is
    /// transient, too.
    pub(crate) async fn unless_lost<T>(&self, setup: impl Future<Output = Result<T>>) -> Result<T> {
        let mut state = self.state.clone();
        // An error means a closed connection, which `setup` reports by itself.
        let _ = state.wait_for(|state| !matches!(state, SupervisedState::Down)).await;
        tokio::select! {
            biased;
            done = setup => done,
            _ = state.changed() => Err(Error::new(
                ErrorKind::Disconnected,
                "cannot set up the channel: the connection was lost",
            )),
            () = self.unanswered() => {
                let seconds = SETUP_MAX.as_secs();
                if let Some(count) = self.unanswered_log.note() {
                    let role = self.role;
                    tracing::warn!(%role, seconds, count, "the broker does not answer");
                }
                let text = "cannot set up the channel: the broker does not answer";
                Err(Error::new(ErrorKind::Disconnected, text).with("seconds", seconds))
            }
        }
    }

    /// Waits for [`SETUP_MAX`], and for longer while the broker accepts no messages: it reads
    /// nothing from this connection then.
    async fn unanswered(&self) {
        let mut flow = self.flow.clone();
        loop {
            sleep(SETUP_MAX).await;
            if *flow.borrow() {
                return;
            }
            // An error means a closed connection, which the setup reports by itself.
            let _ = flow.wait_for(|flows| *flows).await;
        }
    }

    /// Opens a new channel like [`channel`](Self::channel). Also returns the connection's status,
    /// in which `blocked` means that the broker accepts no messages, and the place for a listener
    /// to confirms, if there is a filter in front of the engine.
    pub(crate) async fn channel_with_status(&self) -> Result<StatedChannel> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, SupervisedState::Down)).await;
        let connection = match settled.map_err(|_| closed())?.clone() {
            SupervisedState::Up(connection) => connection,
            SupervisedState::Refused(error) => return Err(error),
            SupervisedState::Down => return Err(closed()),
        };
        let channel = open_channel(&connection).await.map_err(|error| {
            self.check_now();
            failed("cannot open a channel", &error)
        })?;
        Ok((channel, connection.status().clone(), connection.confirms().cloned()))
    }

    /// Watches the flow: true while the broker accepts messages. Under an alarm of the broker for
    /// memory or disk, the value is false.
    pub(crate) fn flow_changes(&self) -> watch::Receiver<bool> {
        self.flow.clone()
    }

    /// Returns the version of the broker, as far as is known.
    pub(crate) fn broker_version(&self) -> BrokerVersion {
        self.version.get()
    }

    /// Returns whether the connection is up, as far as the engine knows.
    pub(crate) fn is_up(&self) -> bool {
        matches!(&*self.state.borrow(), SupervisedState::Up(connection) if connection.status().connected())
    }

    /// Returns the largest frame in bytes, as negotiated with the broker.
    pub(crate) fn frame_max(&self) -> usize {
        match &*self.state.borrow() {
            SupervisedState::Up(connection) => match connection.configuration().frame_max() {
                // Zero means no bound.
                0 => usize::MAX,
                max => usize::try_from(max).unwrap_or(usize::MAX),
            },
            // The minimum of AMQP. The next channel reads the negotiated value.
            _ => 4096,
        }
    }

    /// Returns the refusal that ended all reconnects, if there was one.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &*self.state.borrow() {
            SupervisedState::Refused(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Waits for the refusal that ends all reconnects. Resolves never on a connection that its
    /// owner closes.
    pub(crate) async fn refused(&self) -> Error {
        let mut state = self.state.clone();
        let refused = state.wait_for(|state| matches!(state, SupervisedState::Refused(_))).await;
        let refused = refused.map(|state| state.clone());
        match refused {
            Ok(SupervisedState::Refused(error)) => error,
            _ => std::future::pending().await,
        }
    }

    /// Asks the supervisor to check at once whether the connection is lost. Callers do so when a
    /// channel has ended, which saves up to a second until the next regular check.
    pub(crate) fn check_now(&self) {
        self.suspicion.notify_one();
    }

    /// Closes the connection, unless the program has handed it in, and waits up to 2 seconds for
    /// the broker to agree. A blocked connection is not waited for: the engine writes nothing,
    /// `connection.close` included, until the broker unblocks.
    pub(crate) async fn close(&self) {
        self.supervisor.abort();
        if self.is_given {
            return;
        }
        let state = self.state.borrow().clone();
        if let SupervisedState::Up(connection) = state {
            let limit = if connection.status().blocked() { Duration::ZERO } else { CLOSE_MAX };
            // Closing fails if the connection is lost already; a frozen broker times out.
            let _ = timeout(limit, connection.close(200, "closed by its owner".into())).await;
        }
    }
}

impl Drop for SupervisedConnection {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// A channel, with the state of its connection.
type StatedChannel = (Channel, ConnectionStatus, Option<ConfirmListeners>);

/// Opens a channel. The broker refuses none with an error of a channel: the engine reports such an
/// error of a closed channel, which had the same number, to the next one, too.
async fn open_channel(connection: &Connection) -> lapin::Result<Channel> {
    let mut attempts = 0;
    loop {
        match connection.create_channel().await {
            Err(error) if channel_error(&error).is_some() && attempts < OPEN_MAX => attempts += 1,
            opened => return opened,
        }
    }
}

/// Repeated attempts to open a channel. Each takes the next number.
const OPEN_MAX: u32 = 16;
/// The longest wait for the broker's answers to a set-up: 20 seconds. A busy broker takes some.
const SETUP_MAX: Duration = Duration::from_secs(20);
/// Channels that endpoint handles leave for declarations, bindings, dead letters and replies.
const RESERVED_CHANNELS: usize = 32;
/// The longest wait for the broker's answer to `connection.close`.
const CLOSE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn setup_that_the_broker_does_not_answer_may_succeed_later() {
        let (_state_sender, state) = watch::channel(SupervisedState::Refused(closed()));
        let (_flow_sender, flow) = watch::channel(true);
        let connection = SupervisedConnection {
            state,
            flow,
            version: CurrentVersion::default(),
            suspicion: Arc::default(),
            handle_channels: Arc::new(Semaphore::new(1)),
            is_given: false,
            role: ConnectionRole::Consuming,
            unanswered_log: LogThrottle::new(),
            supervisor: tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        let setup = std::future::pending::<Result<()>>();
        let error = connection.unless_lost(setup).await.unwrap_err();
        assert!(error.is_transient() && error.detail("seconds") == Some("20"), "{error:?}");
    }
}
