//! Binding a server to a service.

use std::future::IntoFuture;

use futures_core::future::BoxFuture;

use tokio::task::coop::consume_budget;

use super::cancellations::Cancellations;
use super::deduplication_options::Deduplication;
use super::reply_cache::ReplyCache;
use super::request_admission::RequestPolicy;
use super::server::Server;
use crate::error::{Error, Result};
use crate::message::Address;
use crate::transport::{Receiver, Sender, Transport, Window, WireKind, log_received, log_sent};

impl Server {
    /// Binds to `service` on `transport`.
    ///
    /// Set options on the returned builder, then await it. Dropping the future closes what was
    /// opened so far.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `service` is not an address,
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) if the transport lacks what an
    /// option needs, or the error of the transport if it cannot bind.
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
            deduplication: None,
        }
    }
}

impl Server {
    /// Creates a server of halves that are no responder of the transport: those of broadcasts,
    /// which are not settled.
    pub(crate) fn of_broadcasts(name: Address, halves: (Sender, Receiver), window: Window) -> Self {
        let policy = RequestPolicy {
            is_at_most_once: false,
            deliveries_max: None,
            reply_cache: None,
            cancellations: Some(Cancellations::default()),
            forwards_declined: false,
            dead_letters: false,
        };
        Self::new(name, halves, window, policy)
    }
}

/// A builder that binds a server when it is awaited; made by [`Server::bind`].
#[must_use = "a server does not bind unless it is awaited"]
#[derive(Debug)]
pub struct ServerBind<'t, T> {
    transport: &'t T,
    service: Result<Address>,
    window: Window,
    is_at_most_once: bool,
    deliveries_max: Option<u32>,
    deduplication: Option<Deduplication>,
}

impl<T> ServerBind<'_, T> {
    /// Sets the maximum number of requests that run at once. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Begins no request of any method twice, as [`at_most_once`](crate::at_most_once) does for a
    /// single handler. By default a request runs at least once.
    ///
    /// The caller's permission is asked for before the service is called. A request that the
    /// handler [declines](crate::Fault::declined) has begun by then. RabbitMQ and memory forward it
    /// to no other server, so its caller gets the fault. Over ZeroMQ the client forwards it to a
    /// server at another endpoint, unless it has marked the call as well.
    pub fn at_most_once(self) -> Self {
        Self { is_at_most_once: true, ..self }
    }

    /// Sets the maximum number of deliveries of a request, at least 1. By default a request runs
    /// until its deadline has passed; over RabbitMQ, where a request that returned from a dead
    /// server runs [isolated](crate::transport::Suspect), at most five times.
    ///
    /// A request beyond the limit seems to crash its servers. It does not run again: its caller
    /// gets [`Code::Internal`](crate::Code::Internal), and the request becomes one of the
    /// [`DeadLetters`](crate::DeadLetters) of the service. Over RabbitMQ, at least two
    /// servers have to die with it as their only suspect, even if the limit is lower. The requests
    /// beside it are answered by other servers.
    ///
    /// Binding fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on a transport
    /// without dead letters. It also fails for a limit above 1 where the deliveries of requests are
    /// not counted, as in RabbitMQ's classic queues that are passive.
    pub fn deliveries(self, most: u32) -> Self {
        Self { deliveries_max: Some(most.max(1)), ..self }
    }

    /// Answers duplicates of a request with its first reply, within these bounds. By default a
    /// duplicate runs again.
    pub fn deduplicate(self, deduplication: Deduplication) -> Self {
        Self { deduplication: Some(deduplication), ..self }
    }
}

impl<'t, T: Transport> IntoFuture for ServerBind<'t, T> {
    type Output = Result<Server>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, service, window, is_at_most_once, deliveries_max, deduplication } =
            self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let name = service?;
            if deliveries_max.is_some() && !transport.capabilities().dead_letters {
                return Err(Error::lacking("Server::deliveries", "dead_letters"));
            }
            let (sender, mut receiver) = transport.responder(&name, window).await?;
            if deliveries_max.is_some_and(|most| most > 1) && !receiver.counts_attempts() {
                return Err(Error::lacking("Server::deliveries", "attempts").with("service", name));
            }
            let sender = log_sent(sender, WireKind::Reply, &name);
            let receiver = log_received(receiver, WireKind::Request, &name);
            let capabilities = transport.capabilities();
            let policy = RequestPolicy {
                is_at_most_once,
                deliveries_max,
                reply_cache: deduplication.map(ReplyCache::new),
                cancellations: capabilities.cancellation.then(Cancellations::default),
                forwards_declined: capabilities.declining,
                dead_letters: capabilities.dead_letters,
            };
            Ok(Server::new(name, (sender, receiver), window, policy))
        })
    }
}
