//! The typed client of a service.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use serde::de::DeserializeOwned;

use super::reply_reader::ClientStats;
use super::requester::Requester;
use crate::dialect::Dialect;
use crate::error::{CallError, CallTarget, Error, Fault, FaultDecoder, Result};
use crate::lazy_timeout::{Until, until};
use crate::message::{Address, Deadline, Message, MessageId};
use crate::middleware::Layer;
use crate::service::{Reply, Request, Service};

/// A client, which calls the methods of a service.
///
/// Every call has a finite deadline. The default is 30 seconds;
/// [`with_timeout`](Self::with_timeout) sets another for a client, and [`request`](Self::request)
/// for one call. Clones share the connection and its in-flight calls, so cloning is cheap.
///
/// ```
/// # use std::time::Duration;
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Router, Server};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// # let server = Server::bind(&transport, "calculator").await?;
/// # let router = Router::new(MessagePack);
/// # let router = router.method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
/// # tokio::spawn(server.serve(router));
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
    pub(super) service: S,
    /// The name of the service, for errors.
    pub(super) name: Option<Address>,
    pub(super) dialect: D,
    pub(super) timeout: Option<Duration>,
    /// The id of each call without one of its own.
    pub(super) message_id: Option<MessageId>,
    /// The first part of the names of methods.
    pub(super) prefix: Option<Address>,
    /// `true` if calls wait for the first server of the service.
    pub(super) waits_for_service: bool,
}

impl<D: Dialect> Client<D> {
    /// Returns the counters of the client.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.service.stats()
    }
}

impl<D: Dialect, S: Service> Client<D, S> {
    /// Creates a client of any service: a requester in layers of middleware, or a router in this
    /// process.
    pub fn new(service: S, dialect: D) -> Self {
        Self {
            service,
            name: None,
            dialect,
            timeout: None,
            message_id: None,
            prefix: None,
            waits_for_service: false,
        }
    }

    /// Wraps the client's service in `layer`, in front of the layers that it has already; see
    /// [`middleware`](crate::middleware).
    #[must_use]
    pub fn layer<L: Layer<S>>(self, layer: &L) -> Client<D, L::Service> {
        Client {
            service: layer.layer(self.service),
            name: self.name,
            dialect: self.dialect,
            timeout: self.timeout,
            message_id: self.message_id,
            prefix: self.prefix,
            waits_for_service: self.waits_for_service,
        }
    }

    /// Returns a clone of this client whose calls time out after `timeout`.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self
    where
        S: Clone,
    {
        Self { timeout: Some(timeout), ..self.clone() }
    }

    /// Returns a clone of this client whose calls all have this id, such as that of an order; see
    /// [`CallBuilder::message_id`](super::CallBuilder::message_id).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `id` is no [`MessageId`].
    pub fn with_message_id(&self, id: impl TryInto<MessageId, Error: Into<Error>>) -> Result<Self>
    where
        S: Clone,
    {
        let message_id = Some(id.try_into().map_err(Into::into)?);
        Ok(Self { message_id, ..self.clone() })
    }

    /// Returns a clone of this client for the methods that are
    /// [nested](crate::Router::nest) under `word`.
    ///
    /// If `word` is `math`, the returned client calls `math.add` as `add`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `word` is not an address.
    pub fn nested(&self, word: impl TryInto<Address, Error: Into<Error>>) -> Result<Self>
    where
        S: Clone,
    {
        let word = word.try_into().map_err(Into::into)?;
        let prefix = Some(self.full_name(word)?);
        Ok(Self { prefix, ..self.clone() })
    }

    /// Puts the prefix in front of the name of a method.
    pub(super) fn full_name(&self, method: Address) -> Result<Address> {
        match &self.prefix {
            Some(prefix) => prefix.join(&method),
            None => Ok(method),
        }
    }

    /// Returns the target of a call, for errors.
    pub(super) fn target(&self, method: Option<Address>) -> CallTarget {
        CallTarget::new(self.name.clone(), method)
    }

    /// Calls the service and waits for the reply until the deadline. `None` if the deadline passes.
    // Not an async function, nor is the next: its future would have room for the request as well.
    fn exchange(
        &self,
        request: Request,
    ) -> Until<impl Future<Output = Called> + Send + use<'_, D, S>> {
        let deadline = request.wait_until().filter(|_| !self.service.keeps_deadlines());
        until(deadline.map(Deadline::instant), self.service.call(request))
    }

    /// Sends a one-way request.
    pub(super) async fn send(&self, request: Request) -> Result<(), CallError> {
        match self.exchange(request).await {
            Some(sent) => sent.map(drop),
            None => Err(CallError::deadline_exceeded()),
        }
    }

    /// Calls the service and decodes the reply.
    pub(super) fn call_decoded<T: DeserializeOwned, E>(
        &self,
        request: Request,
        decoder: FaultDecoder<D, E>,
    ) -> impl Future<Output = Result<T, CallError<E>>> + use<'_, T, E, D, S> {
        let method = request.message.method.clone();
        self.exchange(request).map(move |outcome| {
            let outcome = match outcome.unwrap_or_else(|| Err(CallError::deadline_exceeded())) {
                Ok(mut reply) => self.decode(&mut reply.message, decoder),
                Err(CallError::Fault(fault)) => self
                    .encode_fault(&fault)
                    .map_err(CallError::from)
                    .and_then(|mut message| self.decode(&mut message, decoder)),
                Err(error) => Err(error.widen()),
            };
            outcome.map_err(|error| error.with_target(&self.target(method)))
        })
    }

    fn decode<T: DeserializeOwned, E>(
        &self,
        message: &mut Message,
        decoder: FaultDecoder<D, E>,
    ) -> Result<T, CallError<E>> {
        let outcome = self.dialect.decode_outcome(message)?;
        outcome.map_err(|fault| decoder(&self.dialect, fault, message))
    }

    /// Encodes a fault that never crossed a wire: the fault of a layer, or of a service in this
    /// process.
    fn encode_fault(&self, fault: &Fault) -> Result<Message> {
        let mut message = Message::default();
        self.dialect.encode_outcome::<()>(Err(fault), &mut message)?;
        Ok(message)
    }
}

/// The outcome of a service.
type Called = Result<Reply, CallError>;

impl<D, S> fmt::Debug for Client<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
