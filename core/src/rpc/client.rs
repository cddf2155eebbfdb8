//! The typed calling end.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytestring::ByteString;
use futures_core::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use super::DEFAULT_TIMEOUT;
use super::requester::{ClientStats, Requester};
use crate::context::Baggage;
use crate::context::propagate;
use crate::dialect::Dialect;
use crate::error::{CallError, CallTarget, Declared, Error, ErrorKind, Fault, Result};
use crate::error::{FaultDecoder, as_declared, as_fault};
use crate::message::{Address, Deadline, Message};
use crate::middleware::Layer;
use crate::service::HandedOver;
use crate::service::{Reply, Request, Service};
use crate::transport::Transport;

/// Calls the methods of a service.
///
/// Every call has a finite deadline: 30 seconds by default, [`with_timeout`](Self::with_timeout)
/// for a client, [`request`](Self::request) for one call. Cloning is cheap; clones share the
/// connection and its calls in flight.
///
/// ```
/// # use std::time::Duration;
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Router, Server};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// # let server = Server::bind(&transport, "calculator").await?;
/// # tokio::spawn(server.serve(Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })));
/// let client = Client::connect(&transport, "calculator", MessagePack).await?;
/// let sum: i64 = client.call("add", &(2, 3)).await?;
///
/// let patient = client.with_timeout(Duration::from_secs(300));
/// let traced: i64 = patient.request("add").header("trace", "abc").call(&(2, 3)).await?;
///
/// let in_flight = client.request("add").start::<i64>(&(2, 3))?;
/// // … do something else …
/// assert_eq!((sum, traced, in_flight.await?), (5, 5, 5));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client<D, S = Requester> {
    service: S,
    /// What the service is called, for errors.
    name: Option<Address>,
    dialect: D,
    timeout: Option<Duration>,
    /// What the names of methods begin with.
    prefix: Option<Address>,
    /// Whether the service ends by the deadline by itself.
    keeps_time: bool,
}

impl<D: Dialect> Client<D> {
    /// Connects to `service` on `transport`, to be spoken to in `dialect`: a codec, or a foreign
    /// system's convention.
    ///
    /// Await it, or set options first. It does not ask whether a server is there; a call does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `service` is not an address, or what the transport says if it
    /// cannot connect.
    pub fn connect<'t, T: Transport>(
        transport: &'t T,
        service: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> ClientConnect<'t, T, D> {
        let service = service.try_into().map_err(Into::into);
        let pending_max = Requester::DEFAULT_PENDING_MAX;
        ClientConnect { transport, service, dialect, timeout: None, pending_max }
    }

    /// What the calling end has counted so far.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.service.stats()
    }
}

impl<D: Dialect, S: Service> Client<D, S> {
    /// A client of any service: a requester in layers of middleware, or a router in this very
    /// process.
    pub fn new(service: S, dialect: D) -> Self {
        Self { service, name: None, dialect, timeout: None, prefix: None, keeps_time: false }
    }

    /// A client whose calls go through `layer`, in front of those that are there already; see
    /// [`middleware`](crate::middleware).
    #[must_use]
    pub fn layer<L: Layer<S>>(self, layer: &L) -> Client<D, L::Service> {
        Client {
            service: layer.layer(self.service),
            name: self.name,
            dialect: self.dialect,
            timeout: self.timeout,
            prefix: self.prefix,
            keeps_time: false,
        }
    }

    /// A client whose calls wait this long, beside this one.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self
    where
        S: Clone,
    {
        Self { timeout: Some(timeout), ..self.clone() }
    }

    /// A client of the methods that are [nested](crate::Router::nest) under `word`, beside this
    /// one: what it calls `add`, is `math.add` if `word` is `math`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `word` is not an address.
    pub fn nested(&self, word: impl TryInto<Address, Error: Into<Error>>) -> Result<Self>
    where
        S: Clone,
    {
        let word = word.try_into().map_err(Into::into)?;
        let prefix = Some(self.full_name(word)?);
        Ok(Self { prefix, ..self.clone() })
    }

    /// Calls `method` and waits for its result.
    ///
    /// Dropping the future abandons the call: the caller forgets it, and the server may or may not
    /// carry it out.
    ///
    /// # Errors
    ///
    /// [`CallError::DeadlineExceeded`] when no outcome came in time, [`CallError::Fault`] if the
    /// peer answered with one, [`CallError::Failed`] for whatever went wrong on our side.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.request(method).call(args).await
    }

    /// Prepares a call of `method` with options of its own.
    pub fn request(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
    ) -> CallBuilder<'_, D, S> {
        let method = method.try_into().map_err(Into::into);
        CallBuilder {
            client: self,
            method: method.and_then(|method| self.full_name(method)),
            deadline: Deadline::after(self.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            priority: None,
            headers: crate::message::Headers::new(),
            idempotent: false,
            judge: as_fault,
        }
    }

    fn full_name(&self, method: Address) -> Result<Address> {
        match &self.prefix {
            Some(prefix) => prefix.join(&method),
            None => Ok(method),
        }
    }

    /// What the service has to say, in time.
    async fn exchange(&self, request: Request) -> Result<Reply, CallError> {
        let deadline = request.message.deadline.filter(|_| !self.keeps_time);
        let call = self.service.call(request);
        match deadline {
            Some(deadline) => timeout_at(deadline.instant(), call)
                .await
                .unwrap_or_else(|_| Err(CallError::deadline_exceeded())),
            None => call.await,
        }
    }

    /// Who it is that is called by this name.
    fn callee(&self, method: Option<Address>) -> CallTarget {
        CallTarget::new(self.name.clone(), method)
    }

    async fn carry_out<T: DeserializeOwned, E>(
        &self,
        request: Request,
        judge: FaultDecoder<D, E>,
    ) -> Result<T, CallError<E>> {
        let method = request.message.method.clone();
        let outcome = match self.exchange(request).await {
            Ok(reply) => self.read(reply.message, judge),
            Err(CallError::Fault(fault)) => self
                .written(&fault)
                .map_err(CallError::from)
                .and_then(|message| self.read(message, judge)),
            Err(error) => Err(error.widen()),
        };
        outcome.map_err(|error| error.of(&self.callee(method)))
    }

    fn read<T: DeserializeOwned, E>(
        &self,
        mut message: Message,
        judge: FaultDecoder<D, E>,
    ) -> Result<T, CallError<E>> {
        let outcome = self.dialect.decode_outcome(&mut message)?;
        outcome.map_err(|fault| judge(&self.dialect, fault, &message))
    }

    /// The message that a fault is which never was on a wire: a layer's, or that of a service in
    /// this process.
    fn written(&self, fault: &Fault) -> Result<Message> {
        let mut message = Message::default();
        self.dialect.encode_outcome::<()>(Err(fault), &mut message)?;
        Ok(message)
    }
}

impl<D, S> fmt::Debug for Client<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A client about to connect; made by [`Client::connect`]. Await it.
#[must_use = "a client does not connect unless it is awaited"]
pub struct ClientConnect<'t, T, D> {
    transport: &'t T,
    service: Result<Address>,
    dialect: D,
    timeout: Option<Duration>,
    pending_max: usize,
}

impl<T, D> ClientConnect<'_, T, D> {
    /// How long a call waits for its outcome. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// How many calls may be in flight at once; one more fails with [`ErrorKind::Overloaded`]. The
    /// default is 131,072.
    pub fn pending_max(self, calls: usize) -> Self {
        Self { pending_max: calls, ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for ClientConnect<'t, T, D> {
    type Output = Result<Client<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, service, dialect, timeout, pending_max } = self;
        Box::pin(async move {
            let service = Requester::open(transport, service?, pending_max).await?;
            let name = Some(service.service().clone());
            Ok(Client { service, name, dialect, timeout, prefix: None, keeps_time: true })
        })
    }
}

impl<T, D> fmt::Debug for ClientConnect<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnect").field("service", &self.service).finish_non_exhaustive()
    }
}

/// A call with options of its own; made by [`Client::request`].
#[must_use = "nothing is sent until `call` or `start`"]
pub struct CallBuilder<'c, D, S, E = Infallible> {
    client: &'c Client<D, S>,
    method: Result<Address>,
    deadline: Deadline,
    headers: crate::message::Headers,
    priority: Option<u8>,
    idempotent: bool,
    judge: FaultDecoder<D, E>,
}

impl<'c, D: Dialect, S: Service, E> CallBuilder<'c, D, S, E> {
    /// How long this call waits for its outcome, from now.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.deadline(Deadline::after(timeout))
    }

    /// How long this call waits for its outcome, from now, unless the client was told how long its
    /// calls wait.
    pub fn default_timeout(self, timeout: Duration) -> Self {
        if self.client.timeout.is_none() { self.timeout(timeout) } else { self }
    }

    /// When this call stops waiting for its outcome. One that is made by a handler stops with it at
    /// the latest.
    pub fn deadline(self, deadline: Deadline) -> Self {
        Self { deadline, ..self }
    }

    /// Sends a header along.
    pub fn header(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends a pair along, with this call and with all that come of it; see [`Baggage`].
    pub fn baggage(mut self, key: &str, value: &str) -> Self {
        Baggage::add(&mut self.headers, key, value);
        self
    }

    /// How urgent it is, where queues know priorities; see
    /// [`Pusher::with_priority`](crate::Pusher::with_priority). Where the transport has none,
    /// the call fails as [`ErrorKind::Unsupported`].
    pub fn priority(self, priority: u8) -> Self {
        Self { priority: Some(priority), ..self }
    }

    /// Says that carrying the call out twice does no more than once, so that
    /// [`Retry`](crate::middleware::Retry), or a backend that loses its server, may repeat it
    /// when nobody knows what became of it.
    pub fn idempotent(self) -> Self {
        Self { idempotent: true, ..self }
    }

    /// Says which errors the method declares. They come back as themselves, in
    /// [`CallError::Declared`].
    pub fn declares<N: Declared>(self) -> CallBuilder<'c, D, S, N> {
        let Self { client, method, deadline, headers, priority, idempotent, .. } = self;
        CallBuilder { client, method, deadline, headers, priority, idempotent, judge: as_declared }
    }

    /// Makes the call and waits for its result; see [`Client::call`].
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; [`CallError::Declared`] if the peer answered with an error that the
    /// method [declares](Self::declares).
    pub async fn call<T: DeserializeOwned>(
        self,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError<E>> {
        let (client, judge) = (self.client, self.judge);
        client.carry_out(self.into_request(args)?, judge).await
    }

    /// Makes the call and wants no outcome: resolves when the backend has it in the strongest sense
    /// it knows, such as a broker's confirm. Whether the method succeeds, and whether there is
    /// one, only the server's log tells.
    ///
    /// Dropped before it resolves, the call may have been sent or not.
    ///
    /// # Errors
    ///
    /// [`CallError::DeadlineExceeded`] if its time was over before it was sent,
    /// [`CallError::Failed`] for whatever else went wrong on our side.
    pub async fn send<A: Serialize + ?Sized>(self, args: &A) -> Result<(), CallError> {
        let client = self.client;
        let request = Request { oneway: true, ..self.into_request(args)? };
        let method = request.message.method.clone();
        client.exchange(request).await.map(drop).map_err(|error| error.of(&client.callee(method)))
    }

    /// Makes the call and does not wait: the handle can be awaited later, or dropped to abandon the
    /// call.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] if the arguments cannot be encoded, or the method is not an address.
    /// What goes wrong later, the handle says.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start<T>(self, args: &(impl Serialize + ?Sized)) -> Result<InFlight<T, E>, CallError<E>>
    where
        T: DeserializeOwned + Send + 'static,
        S: Clone,
        E: Send + 'static,
    {
        let (client, judge) = (self.client.clone(), self.judge);
        let mut request = self.into_request(args)?;
        let (tell, handed_over) = oneshot::channel();
        request.handed_over = Some(HandedOver::new(tell));
        let task = tokio::spawn(async move { client.carry_out(request, judge).await });
        Ok(InFlight { task, handed_over })
    }

    fn into_request<A: Serialize + ?Sized>(self, args: &A) -> Result<Request> {
        let mut message = Message::request(self.method?, self.deadline);
        (message.headers, message.priority) = (self.headers, self.priority);
        self.client.dialect.encode_call(args, &mut message).map_err(Error::unsent)?;
        propagate(&mut message);
        Ok(Request { idempotent: self.idempotent, ..Request::new(message) })
    }
}

impl<D, S, E> fmt::Debug for CallBuilder<'_, D, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBuilder").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A call in flight: await it for its result, drop it to abandon the call.
///
/// It makes progress by itself, awaited or not, and ends by its deadline at the latest.
#[must_use = "dropping it abandons the call"]
pub struct InFlight<T, E = Infallible> {
    task: JoinHandle<Result<T, CallError<E>>>,
    handed_over: oneshot::Receiver<()>,
}

impl<T, E> InFlight<T, E> {
    /// Waits until the backend has the request in the strongest sense it knows, such as a broker's
    /// confirm, or the call is over. May be dropped and called again.
    pub async fn handed_over(&mut self) {
        if !self.handed_over.is_terminated() {
            // An error means that the call ended without: awaiting the handle tells how.
            let _ = (&mut self.handed_over).await;
        }
    }

    /// Whether the outcome is there.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl<T, E> Future for InFlight<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = std::task::ready!(Pin::new(&mut self.task).poll(cx));
        // It fails to join only if the runtime shuts down, or a middleware of the user's panicked.
        Poll::Ready(joined.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Closed, "the task of the call is gone")
                .with_source(error)
                .into())
        }))
    }
}

impl<T, E> Drop for InFlight<T, E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T, E> fmt::Debug for InFlight<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}
