//! The serving end: bind, serve, drain.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_core::future::BoxFuture;

use super::cancellations::Cancellations;
use super::deduplication::{Deduplication, ReplyCache};
use super::request_processor::{RequestPolicy, RequestProcessor};
use crate::error::{Error, Result};
use crate::message::Address;
use crate::service::Service;
use crate::transport::LogThrottle;
use crate::transport::{Receiver, Sender};
use crate::transport::{Transport, Window};
use crate::worker::Serving;
use crate::worker::receive_loop::{self, EndpointLabel, Lifecycle, StopGuard};

/// Serves the requests of a service.
///
/// From the moment it is bound, requests are queued for it; [`serve`](Self::serve) works them off,
/// at most a [`Window`] of them at once. A request is settled after its reply was handed over, so
/// one whose server dies goes to another server where the transport can carry that: it is run at
/// least once. To run it at most once instead, say [`at_most_once`](ServerBind::at_most_once); to
/// bear that it comes twice, [`deduplicate`](ServerBind::deduplicate). A handler
/// that panics, or whose result cannot be encoded, answers with a fault; one that is slower than
/// its caller's deadline is dropped, and so is one whose caller stops waiting, where the transport
/// [can tell](crate::Capabilities::cancellation); a request that comes too late never starts.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Memory, Router, Server, Window};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let server = Server::bind(&transport, "greeter").window(Window::new(16)).await?;
/// let handle = server.handle();
/// let serving = tokio::spawn(server.serve(
///     Router::new(MessagePack).method("greet", |name: String| async move { Ok(format!("Hello, {name}!")) }),
/// ));
/// // … later; or give it a signal to wait for: `Serving::with_graceful_shutdown`.
/// handle.drain().await;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    name: Address,
    sender: Sender,
    receiver: Receiver,
    window: Window,
    rules: RequestPolicy,
    handle: ServerHandle,
    /// The last one, so that it is dropped last.
    duty: StopGuard,
}

impl Server {
    /// Binds to `service` on `transport`. Await it, or set options first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `service` is not an address, or what the
    /// transport says if it cannot bind.
    pub fn bind<T: Transport>(
        transport: &T,
        service: impl TryInto<Address, Error: Into<Error>>,
    ) -> ServerBind<'_, T> {
        let service = service.try_into().map_err(Into::into);
        let window = Window::default();
        ServerBind {
            transport,
            service,
            window,
            is_at_most_once: false,
            deliveries_max: None,
            suppression: None,
        }
    }

    /// The name of the service.
    #[must_use]
    pub fn name(&self) -> &Address {
        &self.name
    }

    /// A handle to stop the server by, and to see what it does.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves until it is [drained](ServerHandle::drain), its
    /// [shutdown](Serving::with_graceful_shutdown) is signalled, or the transport is closed.
    ///
    /// A request is begun where it is taken in, and goes on in a task of its own if it is not done
    /// at once. So a handler that blocks its thread keeps others from being begun, as it does
    /// wherever it runs; what computes for long belongs
    /// into [`spawn_blocking`](tokio::task::spawn_blocking). Dropping the future stops at once:
    /// what runs is dropped, and goes to another server where the transport can carry that.
    pub fn serve<S: Service>(self, service: S) -> Serving {
        let Self { name, sender, receiver, window, rules, handle, duty } = self;
        let ServerHandle { phase, counts } = handle;
        let desk = RequestProcessor {
            post: EndpointLabel { end: "server", name },
            service,
            sender,
            rules,
            counts,
            late: LogThrottle::default(),
            refused: LogThrottle::default(),
        };
        Serving::new(phase, receive_loop::run(Arc::new(desk), receiver, window, duty))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// A server about to bind; made by [`Server::bind`]. Await it.
#[must_use = "a server does not bind unless it is awaited"]
#[derive(Debug)]
pub struct ServerBind<'t, T> {
    transport: &'t T,
    service: Result<Address>,
    window: Window,
    is_at_most_once: bool,
    deliveries_max: Option<u32>,
    suppression: Option<Deduplication>,
}

impl<T> ServerBind<'_, T> {
    /// How many requests are worked on at once. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Runs each request at most once, instead of at least once: it is settled before its handler
    /// begins, so that nobody else gets it if this server dies.
    ///
    /// What it [declines](crate::Fault::declined) is settled by then, so the broker and this
    /// process hand it to nobody else, and its caller is told. Over ZeroMQ the calling end
    /// hands it on, so a server at another endpoint gets it.
    ///
    /// A request that was delivered before, to this server or another one, may have been run; it is
    /// not, and answered with [`Code::Unavailable`](crate::Code::Unavailable). That also meets
    /// what a draining server has handed back.
    pub fn at_most_once(self) -> Self {
        Self { is_at_most_once: true, ..self }
    }

    /// Takes a request that was delivered more often than this, at least once, for one that ends
    /// its servers: it is not run again, answered with
    /// [`Code::Internal`](crate::Code::Internal), and kept among the
    /// [`DeadLetters`](crate::DeadLetters) of the service. A transport that keeps none is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). The default is to run it until
    /// its deadline is over.
    ///
    /// Where deliveries of requests are not counted, as in RabbitMQ's classic queues, only the
    /// first is told from the others: there, 1 is a bound, and more is `Unsupported`, too.
    pub fn deliveries(self, most: u32) -> Self {
        Self { deliveries_max: Some(most.max(1)), ..self }
    }

    /// Remembers what was answered, and does not carry out again what is delivered again. The
    /// default is to carry it out.
    pub fn deduplicate(self, suppression: Deduplication) -> Self {
        Self { suppression: Some(suppression), ..self }
    }
}

impl<'t, T: Transport> IntoFuture for ServerBind<'t, T> {
    type Output = Result<Server>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, service, window, is_at_most_once, deliveries_max, suppression } =
            self;
        Box::pin(async move {
            let name = service?;
            if deliveries_max.is_some() && !transport.capabilities().dead_letters {
                return Err(Error::unsupported("dead_letters"));
            }
            let (sender, mut receiver) = transport.responder(&name, window).await?;
            if deliveries_max.is_some_and(|most| most > 1) && !receiver.counts_attempts() {
                return Err(Error::unsupported("attempts").with("service", name));
            }
            let handle = ServerHandle { phase: Lifecycle::new(), counts: Arc::default() };
            let duty = StopGuard::new(&handle.phase);
            let answers = suppression.map(ReplyCache::new);
            let underway = transport.capabilities().cancellation.then(Cancellations::default);
            let hands_on = transport.capabilities().declining;
            let rules =
                RequestPolicy { is_at_most_once, deliveries_max, answers, underway, hands_on };
            Ok(Server { name, sender, receiver, window, rules, handle, duty })
        })
    }
}

/// Stops a [`Server`], and tells what it does. Clones are handles of the same server.
#[derive(Clone)]
pub struct ServerHandle {
    phase: Lifecycle,
    counts: Arc<Counts>,
}

impl ServerHandle {
    /// Takes in no more requests, lets what runs finish, and waits for that.
    ///
    /// The rest is handed back for other servers to take, or refused with [`Code::Unavailable`]
    /// where the transport cannot hand back. Calling it again waits for the same end. Dropping
    /// the future goes on draining; to set a grace period, put a timeout around it and drop the
    /// serving task after.
    ///
    /// [`Code::Unavailable`]: crate::Code::Unavailable
    pub async fn drain(&self) {
        self.phase.drain().await;
    }

    /// What the server has counted so far.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        let counts = &self.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ServerStats {
            running: get(&counts.running),
            answered: get(&counts.answered),
            panicked: get(&counts.panicked),
            expired: get(&counts.expired),
            rejected: get(&counts.rejected),
            refused: get(&counts.refused),
            undelivered: get(&counts.undelivered),
            suppressed: get(&counts.suppressed),
            abandoned: get(&counts.abandoned),
            declined: get(&counts.declined),
            answered_early: get(&counts.answered_early),
            failed_late: get(&counts.failed_late),
        }
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// What a server has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Requests that are worked on now.
    pub running: u64,
    /// Requests that were answered, with a result or a fault.
    pub answered: u64,
    /// Handlers that panicked. They are among the answered.
    pub panicked: u64,
    /// Requests whose deadline had passed when they came, or passed while they ran. They are not
    /// answered.
    pub expired: u64,
    /// Requests that could not be read and not be answered.
    pub rejected: u64,
    /// Requests that came while draining, came again to a server that runs each at most once, or
    /// came too often.
    pub refused: u64,
    /// Replies that could not be handed over. Where the transport settles, their requests go to
    /// another server.
    pub undelivered: u64,
    /// Requests that came again and were answered from memory. They are among the answered.
    pub suppressed: u64,
    /// Requests that were stopped while they ran, because nobody waits for their outcome any more.
    pub abandoned: u64,
    /// Requests that were [declined](crate::Fault::declined). Those whose caller this server had
    /// to tell are among the answered; the others went to another one.
    pub declined: u64,
    /// Requests that were [answered](crate::Replier) before their handlers ended, as they have by
    /// now. They are among the answered.
    pub answered_early: u64,
    /// Handlers that failed, or panicked, after they had answered. They are among the answered
    /// early.
    pub failed_late: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) running: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) undelivered: AtomicU64,
    pub(super) suppressed: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) declined: AtomicU64,
    pub(super) answered_early: AtomicU64,
    pub(super) failed_late: AtomicU64,
}
