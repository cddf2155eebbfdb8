//! A connection that comes back: the task that keeps it, and how others learn of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Channel, Connection};
use polywire_core::{ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::connection::connect;
use crate::error::{closed, failed};

/// A connection for one purpose, made again whenever it is lost.
pub(crate) struct Session {
    state: watch::Receiver<State>,
    suspicion: Arc<Notify>,
    keeper: AbortHandle,
}

#[derive(Clone)]
enum State {
    Up(Arc<Connection>),
    Down,
}

impl Session {
    /// Connects, and keeps connected from then on.
    pub(crate) async fn open(config: Config, purpose: &'static str) -> Result<Self> {
        let connection = Arc::new(connect(&config, purpose).await?);
        let (tell, state) = watch::channel(State::Up(connection.clone()));
        let suspicion = Arc::new(Notify::new());
        let keeper = Keeper { config, purpose, tell, suspicion: suspicion.clone() };
        Ok(Self { state, suspicion, keeper: tokio::spawn(keeper.keep(connection)).abort_handle() })
    }

    /// A new channel, as soon as there is a connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the session is closed, or what went wrong with the channel.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(state, State::Up(_))).await.map_err(|_| closed())?.clone();
        let State::Up(connection) = up else { return Err(closed()) };
        connection.create_channel().await.map_err(|error| {
            self.suspect();
            failed("cannot open a channel", error)
        })
    }

    /// The most bytes that a frame may have, as the broker agreed.
    pub(crate) fn frame_max(&self) -> usize {
        match &*self.state.borrow() {
            State::Up(connection) => match connection.configuration().frame_max() {
                // No bound.
                0 => usize::MAX,
                max => usize::try_from(max).unwrap_or(usize::MAX),
            },
            // The least that AMQP allows: the next line will know better.
            State::Down => 4096,
        }
    }

    /// Says that the connection seems lost, so that the keeper looks.
    pub(crate) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Closes the connection. A broker that does not take part is not waited for.
    pub(crate) async fn close(&self) {
        self.keeper.abort();
        let state = self.state.borrow().clone();
        if let State::Up(connection) = state {
            // It fails if the connection is lost already; a frozen broker is left alone.
            let _ = timeout(CLOSE_MAX, connection.close(200, "closed by its owner".into())).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

struct Keeper {
    config: Config,
    purpose: &'static str,
    tell: watch::Sender<State>,
    suspicion: Arc<Notify>,
}

impl Keeper {
    async fn keep(self, mut connection: Arc<Connection>) {
        loop {
            self.until_lost(&connection).await;
            drop(connection);
            self.tell.send_replace(State::Down);
            tracing::warn!(
                purpose = self.purpose,
                host = self.config.target.host(),
                "the connection is lost"
            );
            connection = Arc::new(self.reconnect().await);
            self.tell.send_replace(State::Up(connection.clone()));
            tracing::info!(purpose = self.purpose, host = self.config.target.host(), "connected again");
        }
    }

    async fn until_lost(&self, connection: &Connection) {
        let mut events = Box::pin(connection.events_listener());
        while connection.status().connected() {
            tokio::select! {
                // Failures of channels come as events of the connection, too: hence the look at the status.
                Some(_) = events.next() => {}
                () = self.suspicion.notified() => {}
                // The engine sends no event for every end that a connection can take.
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Tries for ever, at growing intervals, unless the session is closed.
    async fn reconnect(&self) -> Connection {
        let mut pause = PAUSE_MIN;
        loop {
            match connect(&self.config, self.purpose).await {
                Ok(connection) => return connection,
                Err(error) if error.kind() == ErrorKind::Denied => {
                    tracing::error!(?error, "the broker refuses us; trying again all the same");
                    pause = PAUSE_MAX;
                }
                Err(error) => tracing::debug!(?error, "not connected yet"),
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Somewhere between half of a pause and all of it, so that not all clients come back in the same moment.
pub(crate) fn jittered(pause: Duration) -> Duration {
    // The low digits of the clock are as random as this needs.
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    pause.mul_f64(0.5 + f64::from(nanos % 1000) / 2000.0)
}

pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const CLOSE_MAX: Duration = Duration::from_secs(2);
