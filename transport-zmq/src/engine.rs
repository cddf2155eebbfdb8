//! The seam to the engines: the sockets as the patterns need them, and no more.

mod freight;
#[cfg(feature = "engine-omq")]
mod omq;
mod rationed;
#[cfg(feature = "engine-zeromq")]
mod zeromq;

use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::transport::Sending;
use polywire_core::{Address, Error, ErrorKind, Identity, Result, Window};

pub(crate) use self::freight::Freight;
use self::rationed::Rationed;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::config::Engine;
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange, EndpointSet, Side, claim_socket_file};
use crate::wire::{Frames, SyncMarker};

/// What every socket can do: come to an end, and have its endpoints changed.
pub(crate) trait Ports: Send + Sync {
    /// Binds, unbinds, dials or stops dialling. Returns the real endpoint, or nothing if there was
    /// nothing to change. May be dropped; then it is open whether it was done.
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>>;

    /// Closes the socket, delivering what was handed over for as long as it is set to linger.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A socket that requests or jobs leave by: one that dials one peer, one that several peers dial,
/// or the way to one [guest](Guest).
pub(crate) trait Dealer: Ports {
    /// Hands a message over, or gives it back if there is no room now.
    fn try_send(&self, frames: Frames) -> Result<(), Frames>;

    /// Waits until there may be room. May be dropped.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Waits until it is known whether the peer can be reached now.
    fn tried(&self) -> BoxFuture<'_, ()>;

    /// Waits until a peer is there, dialling it if need be. May be called again after
    /// [`down`](Self::down) only.
    ///
    /// Fails once the socket is closed.
    fn up(&self) -> BoxFuture<'_, Result<()>>;

    /// Whether the peer knows us and does not let us in. It is asked again now and then.
    fn is_denied(&self) -> bool {
        false
    }

    /// Waits until no peer is there any more, and forgets the requests that were not sent.
    fn down(&self) -> BoxFuture<'_, ()>;

    /// Why the peer is gone, as far as the engine has said so.
    fn reason(&self) -> Option<String> {
        None
    }

    /// What arrives, until the socket is closed. To be called once. Of a socket for jobs it is
    /// empty.
    fn replies(&self) -> BoxStream<'static, Frames>;
}

/// A calling socket that servers dial, which are told apart.
pub(crate) trait Lobby: Ports {
    /// Who is there: at once, and whenever that has changed, until the socket is closed. To be
    /// called once.
    fn guests(&self) -> BoxStream<'static, Vec<Guest>>;

    /// What arrives, and by which connection, until the socket is closed. To be called once.
    fn replies(&self) -> BoxStream<'static, (u64, Frames)>;
}

/// Who has dialled a [`Lobby`].
pub(crate) struct Guest {
    /// The number of its connection, which no other one gets.
    pub(crate) connection: u64,
    /// Where it comes from.
    pub(crate) name: String,
    /// The way to it.
    pub(crate) dealer: Arc<dyn Dealer>,
}

/// What leaves by a [`Dealer`].
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "engine-omq"),
    allow(dead_code, reason = "the other engine carries no jobs")
)]
pub(crate) enum Cargo {
    /// Requests, which are answered.
    Requests,
    /// Jobs of this queue, which are not.
    Jobs(Address),
    /// Jobs of whatever queue.
    AnyJobs,
}

/// A serving socket.
pub(crate) trait Router: Ports {
    /// Hands a message over for a peer: at once if there is room. Fails if the peer is gone.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_>;

    /// What lies in it for a peer, if that is counted and there is something.
    fn freight(&self, _: &Bytes) -> Option<Arc<Freight>> {
        None
    }

    /// What arrives, and from which peer, until the socket is closed. To be called once.
    fn requests(&self) -> BoxStream<'static, (Peer, Frames)>;
}

/// Who sent a request.
pub(crate) struct Peer {
    /// Where replies go.
    pub(crate) address: Bytes,
    /// Who it has proved to be.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// A pulling socket.
pub(crate) trait Pull: Ports {
    /// What arrives, until the socket is closed; or, if it was stopped, until all that had arrived
    /// is yielded. To be called once.
    fn jobs(&self) -> BoxStream<'static, Frames>;

    /// Takes in no more, from a task of its own.
    fn stop(&self);
}

/// A publishing socket.
pub(crate) trait XPub: Ports {
    /// Hands a message over for all who subscribe to its first frame: at once if they all have
    /// room.
    fn send(&self, first: Bytes, frames: Frames) -> Sending<'_>;

    /// The hellos of subscribers, and on how many connections each came, until the socket is
    /// closed. One is yielded once everything that its subscriber said before has been taken
    /// in. To be called once.
    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)>;

    /// Waits until everybody who listens at a dialled endpoint has said what it wants.
    fn settled(&self) -> BoxFuture<'_, ()>;
}

/// A subscribing socket.
pub(crate) trait Sub: Ports {
    /// Wants what begins with this: said to those who are there, and to those who come, in the
    /// order it was asked for.
    fn begin(&self, prefix: Bytes) -> BoxFuture<'_, Result<()>>;

    /// Wants it no more. As often as it was wanted.
    fn end(&self, prefix: Bytes) -> BoxFuture<'_, Result<()>>;

    /// What arrives: the first frame, and the rest; until the socket is closed, or, if it was
    /// stopped, until all that had arrived is yielded. To be called once.
    fn arrivals(&self) -> BoxStream<'static, (Bytes, Frames)>;

    /// Takes in no more, from a task of its own.
    #[cfg_attr(
        not(feature = "engine-omq"),
        allow(dead_code, reason = "only forwarders stop one without closing it")
    )]
    fn stop(&self);

    /// Waits until somebody is at every dialled endpoint, or it is known that nobody is.
    fn settled(&self) -> BoxFuture<'_, ()>;

    /// How many publishers are connected.
    fn publishers(&self) -> BoxFuture<'_, Result<usize>>;
}

/// A socket that dials this endpoint.
pub(crate) fn dial(
    settings: &Settings,
    cargo: &Cargo,
    endpoint: &Endpoint,
) -> Result<Arc<dyn Dealer>> {
    match (settings.engine, cargo) {
        #[cfg(feature = "engine-omq")]
        (Engine::Omq, _) => Ok(Arc::new(omq::Dealer::dial(settings, cargo, endpoint)?)),
        #[cfg(feature = "engine-zeromq")]
        (Engine::Zeromq, Cargo::Requests) => Ok(Arc::new(zeromq::Dealer::dial(settings, endpoint))),
        #[cfg(feature = "engine-zeromq")]
        (Engine::Zeromq, Cargo::Jobs(_) | Cargo::AnyJobs) => Err(no_jobs()),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(unsupported("this engine is not compiled in").with("endpoint", endpoint)),
    }
}

/// A socket for servers to dial, which listens nowhere yet.
pub(crate) fn lobby(settings: &Settings) -> Result<Arc<dyn Lobby>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::Lobby::open(settings)?)),
        _ => Err(unsupported("this engine cannot bind a calling end")),
    }
}

/// A socket for pullers to dial, which listens nowhere yet.
pub(crate) fn listen(settings: &Settings, cargo: &Cargo) -> Result<Arc<dyn Dealer>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::Dealer::listen(settings, cargo)?)),
        _ => Err(no_jobs().with("cargo", format!("{cargo:?}"))),
    }
}

/// A serving socket at the endpoints of this plan, and where it really listens.
pub(crate) async fn serve(
    settings: &Settings,
    plan: &EndpointSet,
) -> Result<(Arc<dyn Router>, Vec<String>)> {
    let (router, bound) = serve_unrationed(settings, plan).await?;
    Ok((Arc::new(Rationed::new(router, settings.peer_bytes_max)), bound))
}

async fn serve_unrationed(
    settings: &Settings,
    plan: &EndpointSet,
) -> Result<(Arc<dyn Router>, Vec<String>)> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => {
            let router = Arc::new(omq::Router::open(settings)?);
            let bound = set_up(&*router, plan).await?;
            Ok((router, bound))
        }
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => {
            if !plan.connect.is_empty() {
                // A connection that it loses, it cannot make again.
                return Err(unsupported("this engine cannot connect a serving end"));
            }
            claim(&plan.bind).await?;
            let (router, bound) = zeromq::Router::bind(&plan.bind).await?;
            Ok((Arc::new(router), bound))
        }
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(unsupported("this engine is not compiled in").with("endpoints", plan.names())),
    }
}

/// A pulling socket for this queue, or for jobs of any.
pub(crate) fn pull(
    settings: &Settings,
    queue: Option<&Address>,
    window: Window,
) -> Result<Arc<dyn Pull>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::Pull::open(settings, queue, window)?)),
        _ => Err(no_jobs().with("queue", format!("{queue:?}")).with("window", window.messages())),
    }
}

/// A publishing socket.
pub(crate) fn publish(settings: &Settings) -> Result<Arc<dyn XPub>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::XPub::open(settings)?)),
        _ => Err(no_events()),
    }
}

/// A subscribing socket.
pub(crate) fn subscribe(settings: &Settings, window: Window) -> Result<Arc<dyn Sub>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::Sub::open(settings, window)?)),
        _ => Err(no_events().with("window", window.messages())),
    }
}

/// Gives a socket its endpoints, and says where it really listens.
pub(crate) async fn set_up<P: Ports + ?Sized>(
    socket: &P,
    plan: &EndpointSet,
) -> Result<Vec<String>> {
    let mut bound = Vec::new();
    for change in plan.changes() {
        let real = apply(socket, &change).await?;
        bound.extend(real.filter(|_| change.side == Side::Bind));
    }
    Ok(bound)
}

/// Changes the endpoints of a socket, and says which one it is now or was.
pub(crate) async fn apply<P: Ports + ?Sized>(
    socket: &P,
    change: &EndpointChange,
) -> Result<Option<String>> {
    match (change.side, change.adds) {
        (Side::Bind, true) => claim(std::slice::from_ref(&change.endpoint)).await?,
        (Side::Connect, true) => drop(change.endpoint.clone().dialled()?),
        _ => {}
    }
    socket.change(change).await
}

async fn claim(endpoints: &[Endpoint]) -> Result<()> {
    for path in endpoints.iter().filter_map(Endpoint::socket_file) {
        claim_socket_file(path.to_owned()).await?;
    }
    Ok(())
}

fn unsupported(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, what).unsent()
}

/// What `zeromq` does to jobs: a socket does not notice that its only puller went away, and takes
/// job after job for it.
fn no_jobs() -> Error {
    unsupported("this engine loses jobs without a word when a puller goes away")
}

/// What `zeromq` does to events: it drops those of a slow subscriber, and says so to nobody.
fn no_events() -> Error {
    unsupported("this engine drops events without a word when a subscriber is slow")
}

/// Binding failed: the port is taken, or not ours to take.
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
fn cannot_bind(
    endpoint: &Endpoint,
    because: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    // Of the ends of a transport, one only can have a port; each can have any free one.
    let error = Error::new(ErrorKind::Config, "cannot bind, as one end only can")
        .with("endpoint", endpoint);
    error.with("because", &because).with_source(because).unsent()
}
