//! A connection that comes back: the task that keeps it, and how others learn of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Channel, Connection, ConnectionStatus, Event};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::announcer::Announcer;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::connection::connect;
use crate::error::{closed, end_of_channel, failed};
use crate::events::{Change, Purpose};
use crate::url::Broker;

fn lost(what: &'static str) -> Error {
    Error::new(ErrorKind::Disconnected, what)
}

/// A connection for one purpose, made again whenever it is lost.
pub(crate) struct Session {
    state: watch::Receiver<State>,
    /// Whether the broker takes messages.
    flow: watch::Receiver<bool>,
    suspicion: Arc<Notify>,
    keeper: AbortHandle,
}

#[derive(Clone)]
enum State {
    Up(Arc<Connection>),
    Down,
    /// For good.
    Refused(Error),
}

impl Session {
    /// Connects to the first of the brokers that takes us, and keeps connected from then on.
    pub(crate) async fn open(
        config: Config,
        purpose: Purpose,
        announcer: Announcer,
    ) -> Result<Self> {
        let mut brokers = Brokers::new(&config);
        let connection = Arc::new(brokers.connect_to_any(&config, purpose).await?);
        let Broker { host, port } = brokers.current().clone();
        tracing::info!(%purpose, host, port, "connected");
        announcer.tell(purpose, Change::Connected { host, port });
        let (tell, state) = watch::channel(State::Up(connection.clone()));
        let (tell_flow, flow) = watch::channel(true);
        let suspicion = Arc::new(Notify::new());
        let keeper = Keeper {
            config,
            brokers,
            purpose,
            announcer,
            tell,
            tell_flow,
            suspicion: suspicion.clone(),
        };
        Ok(Self {
            state,
            flow,
            suspicion,
            keeper: tokio::spawn(keeper.keep(connection)).abort_handle(),
        })
    }

    /// A new channel, as soon as there is a connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if the session is closed, [`ErrorKind::Denied`] if the broker refuses
    /// us for good, or what went wrong with the channel.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        Ok(self.channel_to_publish().await?.0)
    }

    /// What `work` comes to that sets something up over this connection, unless that is lost
    /// meanwhile: the engine may leave a question open for ever that is put to a connection in
    /// the moment it is lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the connection was lost, besides those of `work`.
    pub(crate) async fn unless_lost<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut state = self.state.clone();
        // What is set up waits for a connection by itself.
        let _ = state.wait_for(|state| !matches!(state, State::Down)).await;
        tokio::select! {
            biased;
            done = work => done,
            _ = state.changed() => Err(lost("the connection was lost while something was set up on it")),
        }
    }

    /// A new channel as [`channel`](Self::channel) makes it, and where one sees whether the broker
    /// takes messages.
    pub(crate) async fn channel_to_publish(&self) -> Result<(Channel, ConnectionStatus)> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Down)).await;
        let connection = match settled.map_err(|_| closed())?.clone() {
            State::Up(connection) => connection,
            State::Refused(error) => return Err(error),
            State::Down => return Err(closed()),
        };
        let channel = connection.create_channel().await.map_err(|error| {
            self.suspect();
            failed("cannot open a channel", error)
        })?;
        Ok((channel, connection.status().clone()))
    }

    /// Changes whenever the broker stops taking messages, or takes them again.
    pub(crate) fn flow(&self) -> watch::Receiver<bool> {
        self.flow.clone()
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
            _ => 4096,
        }
    }

    /// Why the broker refuses us for good, if it does.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &*self.state.borrow() {
            State::Refused(error) => Some(error.clone()),
            _ => None,
        }
    }

    /// Says that the connection seems lost, so that the keeper looks.
    pub(crate) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Closes the connection. A broker that does not take part is not waited for. One that takes no
    /// messages hears of it later: until then the engine writes nothing, a farewell included.
    pub(crate) async fn close(&self) {
        self.keeper.abort();
        let state = self.state.borrow().clone();
        if let State::Up(connection) = state {
            let patience = if connection.status().blocked() { Duration::ZERO } else { CLOSE_MAX };
            // It fails if the connection is lost already; a frozen broker is left alone.
            let _ = timeout(patience, connection.close(200, "closed by its owner".into())).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// The brokers of a cluster, and whose turn it is.
struct Brokers {
    all: Vec<Broker>,
    next: usize,
}

impl Brokers {
    fn new(config: &Config) -> Self {
        Self { all: config.target.brokers(), next: 0 }
    }

    /// Tries the one whose turn it is. One that takes us keeps its turn.
    async fn connect(&mut self, config: &Config, purpose: Purpose) -> Result<Connection> {
        let connected = connect(config, self.current(), purpose).await;
        if connected.is_err() {
            self.next = (self.next + 1) % self.all.len();
        }
        connected
    }

    /// Tries them all, once. The error is that of the first: the one that was named first is meant
    /// first.
    async fn connect_to_any(&mut self, config: &Config, purpose: Purpose) -> Result<Connection> {
        let mut first = None;
        for _ in 0..self.all.len() {
            match self.connect(config, purpose).await {
                Ok(connection) => return Ok(connection),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(closed))
    }

    fn current(&self) -> &Broker {
        // A target has at least one.
        &self.all[self.next]
    }
}

struct Keeper {
    config: Config,
    brokers: Brokers,
    purpose: Purpose,
    announcer: Announcer,
    tell: watch::Sender<State>,
    tell_flow: watch::Sender<bool>,
    suspicion: Arc<Notify>,
}

impl Keeper {
    async fn keep(mut self, mut connection: Arc<Connection>) {
        let mut backoff = Backoff::up_to(self.config.heartbeat().pause_max());
        loop {
            let since = Instant::now();
            let reason = self.until_lost(&connection).await;
            drop(connection);
            self.tell.send_replace(State::Down);
            let outage = Outage::begin();
            self.announcer.tell(self.purpose, Change::Lost(reason));
            if since.elapsed() >= STEADY {
                backoff.reset();
            } else {
                // One that lets us in and throws us out at once is not to be hammered.
                backoff.wait().await;
            }
            connection = match self.reconnect(&mut backoff, outage).await {
                Ok(connection) => Arc::new(connection),
                Err(refusal) => {
                    self.tell.send_replace(State::Refused(refusal.clone()));
                    return self.announcer.tell(self.purpose, Change::Refused(refusal));
                }
            };
            self.tell.send_replace(State::Up(connection.clone()));
            let Broker { host, port } = self.brokers.current().clone();
            self.announcer.tell(self.purpose, Change::Restored { host, port });
        }
    }

    /// Waits until the connection is lost; why, as far as that is known.
    async fn until_lost(&self, connection: &Connection) -> Error {
        let mut events = Box::pin(connection.events_listener());
        let mut reason = None;
        while connection.status().connected() {
            tokio::select! {
                Some(event) = events.next() => match event {
                    Event::ConnectionBlocked(why) => {
                        self.tell_flow.send_replace(false);
                        self.announcer.tell(self.purpose, Change::Blocked(why));
                    }
                    Event::ConnectionUnblocked => {
                        self.tell_flow.send_replace(true);
                        self.announcer.tell(self.purpose, Change::Unblocked);
                    }
                    // Failures of channels come as events of the connection, too: hence the look at the status.
                    Event::Error(error) if end_of_channel(&error).is_none() => reason = Some(error),
                    _ => {}
                },
                () = self.suspicion.notified() => {}
                // The engine sends no event for every end that a connection can take.
                () = sleep(LOOK_EVERY) => {
                    let flows = !connection.status().blocked();
                    self.tell_flow.send_if_modified(|flowed| std::mem::replace(flowed, flows) != flows);
                }
            }
        }
        let lost = lost("the connection to the broker was lost");
        let lost = lost
            .with("host", &self.brokers.current().host)
            .with("port", self.brokers.current().port);
        reason.map_or(lost.clone(), |reason| lost.with_source(reason))
    }

    /// Tries the brokers in turn, at growing intervals, until one takes us, or they have refused us
    /// for too long: then somebody has to act. A refusal may pass: whatever the broker asks for
    /// who we are may be away for a moment, and it may still count connections that are dead.
    async fn reconnect(&mut self, backoff: &mut Backoff, mut outage: Outage) -> Result<Connection> {
        let mut refused_since = None;
        loop {
            match self.brokers.connect(&self.config, self.purpose).await {
                Ok(connection) => {
                    let Broker { host, port } = self.brokers.current();
                    tracing::info!(purpose = %self.purpose, host, port, outage_s = outage.seconds(), "connected again");
                    return Ok(connection);
                }
                Err(error) if error.kind() == ErrorKind::Denied => {
                    if refused_since.get_or_insert_with(Instant::now).elapsed()
                        >= self.config.give_up_after
                    {
                        return Err(error);
                    }
                    tracing::error!(?error, "the broker refuses us; it is asked again for a while");
                }
                Err(error) => {
                    refused_since = None;
                    outage.goes_on(self.purpose, &error);
                }
            }
            backoff.wait().await;
        }
    }
}

/// The time without a connection.
struct Outage {
    since: Instant,
    told: Instant,
}

impl Outage {
    fn begin() -> Self {
        Self { since: Instant::now(), told: Instant::now() }
    }

    fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// Notes that another attempt was in vain. Who only looks at warnings hears of it now and then.
    fn goes_on(&mut self, purpose: Purpose, error: &Error) {
        if self.told.elapsed() < OUTAGE_TOLD_EVERY {
            return tracing::debug!(%purpose, ?error, "not connected yet");
        }
        self.told = Instant::now();
        tracing::warn!(%purpose, outage_s = self.seconds(), ?error, "still not connected");
    }
}

/// A connection that lived this long was a good one.
const STEADY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const CLOSE_MAX: Duration = Duration::from_secs(2);
const OUTAGE_TOLD_EVERY: Duration = Duration::from_secs(30);
