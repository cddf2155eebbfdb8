//! Building a call: its arguments and its options.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::coop::consume_budget;

use super::call_handle::CallHandle;
use super::client::Client;
use crate::context::{Baggage, limit_deadline, propagate};
use crate::dialect::Dialect;
use crate::error::{CallError, Declared, Error, Result};
use crate::error::{FaultDecoder, as_declared, as_fault};
use crate::message::{Address, Deadline, Message, MessageId};
use crate::service::{Request, Service};
use crate::transport::DEFAULT_TIMEOUT;

impl<D: Dialect, S: Service> Client<D, S> {
    /// Calls `method` and waits for its result.
    ///
    /// Dropping the future cancels the call: the client forgets it, and the server may or may not
    /// process it.
    ///
    /// # Errors
    ///
    /// [`CallError::DeadlineExceeded`] if no reply arrived in time, [`CallError::Fault`] if the
    /// peer answered with a fault, [`CallError::Failed`] for any failure on this side.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.request(method).call(args).await
    }

    /// Prepares a call of `method` with its own options.
    ///
    /// An invalid name of the method fails the call later, not here.
    pub fn request(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
    ) -> CallBuilder<'_, D, S> {
        let mut message = Box::<Message>::default();
        let method = method.try_into().map_err(Into::into);
        let method = method.and_then(|method| self.full_name(method));
        let mut invalid = None;
        message.method = method.map_err(|error| invalid = Some(error)).ok();
        message.deadline = Some(Deadline::after(self.timeout.unwrap_or(DEFAULT_TIMEOUT)));
        message.message_id.clone_from(&self.message_id);
        CallBuilder {
            client: self,
            message,
            invalid,
            ttl: None,
            waits_for_service: self.waits_for_service,
            decoder: as_fault,
        }
    }
}

/// A builder for one call with its own options; made by [`Client::request`].
///
/// [`call`](Self::call) sends the call and waits for the result, [`start`](Self::start) sends it
/// without waiting, and [`send`](Self::send) sends it one way.
#[must_use = "nothing is sent until `call`, `start` or `send`"]
pub struct CallBuilder<'c, D, S, E = Infallible> {
    client: &'c Client<D, S>,
    /// The request without its arguments. It is built where it stays, for the builder is moved by
    /// each option.
    message: Box<Message>,
    /// The error of the name of the method, or else of the id.
    invalid: Option<Error>,
    ttl: Option<Duration>,
    waits_for_service: bool,
    decoder: FaultDecoder<D, E>,
}

impl<'c, D: Dialect, S: Service, E> CallBuilder<'c, D, S, E> {
    /// Sets the time after which the call times out, counted from now. For a one-way call it is the
    /// longest time until the backend has the call; see [`ttl`](Self::ttl) for the time after that.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.deadline(Deadline::after(timeout))
    }

    /// Sets the time after which the call times out, counted from now, unless the client has a
    /// timeout of its own.
    pub fn default_timeout(self, timeout: Duration) -> Self {
        if self.client.timeout.is_none() { self.timeout(timeout) } else { self }
    }

    /// Sets the deadline of the call. A call that a handler awaits also ends by the deadline of the
    /// handler's own call. For a one-way call it is the moment by which the backend must have the
    /// call.
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.message.deadline = Some(deadline);
        self
    }

    /// Sets the time within which a one-way call must begin, counted from [`send`](Self::send) and
    /// at most 30 days. The default is no limit: the call waits until a server runs it.
    ///
    /// A call that has not begun by then expires: it never runs, and the server that receives it
    /// counts it in [`ServerStats::expired`](crate::rpc::ServerStats::expired). RabbitMQ removes it
    /// from the queue unless [`keep_expired`](Self::keep_expired) is set; a call whose server dies
    /// is back in the queue, and may be removed there. The time does not limit a handler that has
    /// begun. To inherit the deadline of the running handler, pass
    /// [`Context::remaining`](crate::Context::remaining).
    ///
    /// Calls that return a result ignore the option.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Makes a one-way call that [expires](Self::ttl) a dead letter of the service, with the reason
    /// [`Expired`](crate::message::DeadLetterReason::Expired).
    ///
    /// The broker then keeps the call, and the first server that receives it dead-letters it. The
    /// option has no effect without a time to live. On a transport without dead letters, the call
    /// fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub fn keep_expired(mut self) -> Self {
        self.message.keep_expired = true;
        self
    }

    /// Marks the call as not worth a disk; see [`with_transient`](crate::Pusher::with_transient).
    pub fn transient(mut self) -> Self {
        self.message.transient = true;
        self
    }

    /// Sets a header. A [reserved](crate::Headers::RESERVED) name fails the call later, not here.
    pub fn header(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.message.headers.insert(name, value);
        self
    }

    /// Sets the id of the call, which its handler gets as
    /// [`Context::message_id`](crate::Context::message_id).
    ///
    /// Each attempt has this id, also a call that a client's [`Retry`](crate::middleware::Retry)
    /// makes again. Without the option, the id of a call stands for its call id, and a one-way call
    /// gets a new id. An invalid id fails the call later, not here, with
    /// [`ErrorKind::Config`](crate::ErrorKind::Config).
    pub fn message_id(mut self, id: impl TryInto<MessageId, Error: Into<Error>>) -> Self {
        match id.try_into() {
            Ok(id) => self.message.message_id = Some(id),
            Err(error) => self.invalid = self.invalid.or_else(|| Some(error.into())),
        }
        self
    }

    /// Adds a pair to the baggage of this call, and of every call that results from it; see
    /// [`Baggage`].
    pub fn baggage(mut self, key: &str, value: &str) -> Self {
        Baggage::add(&mut self.message.headers, key, value);
        self
    }

    /// Sets the priority, where queues have priorities; see
    /// [`Pusher::with_priority`](crate::Pusher::with_priority).
    ///
    /// On a transport without priorities, the call fails with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub fn priority(mut self, priority: u8) -> Self {
        self.message.priority = Some(priority);
        self
    }

    /// Marks the call as idempotent: running it twice has the same effect as running it once.
    ///
    /// [`Retry`](crate::middleware::Retry), or a backend that loses its server, may then repeat the
    /// call when its outcome is unknown.
    pub fn idempotent(mut self) -> Self {
        self.message.idempotent = true;
        self
    }

    /// Marks the call as one that must never be begun twice. The mark overrules
    /// [`idempotent`](Self::idempotent).
    ///
    /// The server obeys the mark, whether its method is marked as
    /// [at most once](crate::at_most_once) or not. If the server dies after it has begun, the
    /// call fails within two seconds of that, with a fault of [`Code::Interrupted`].
    ///
    /// [`Code::Interrupted`]: crate::Code::Interrupted
    pub fn at_most_once(mut self) -> Self {
        self.message.at_most_once = true;
        self
    }

    /// Waits for the first server of the service, until the call's deadline. By default a call
    /// without a server fails as [`Unroutable`](crate::ErrorKind::Unroutable).
    ///
    /// The client sends the request again, after pauses of at most half a second, until a server
    /// can get it. If none comes, the call fails as [`CallError::DeadlineExceeded`]. A one-way call
    /// waits for as long as its [`timeout`](Self::timeout); over ZeroMQ it waits for any server. A
    /// request that the broker rejects is sent again, too, unless it is marked to run
    /// [at most once](Self::at_most_once). Other failures end the call. Dropping it ends the wait.
    ///
    /// [`ClientConnect::wait_for_service`](crate::rpc::ClientConnect::wait_for_service) sets the
    /// option for all calls of a client.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{CallError, Client, Memory, Router, Server};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), CallError> {
    /// # let transport = Memory::new();
    /// let client = Client::connect(&transport, "calculator", MessagePack).await?;
    /// let sum = client.request("add").wait_for_service().start::<i64>(&(2, 3))?;
    ///
    /// // Later, perhaps in another process:
    /// let server = Server::bind(&transport, "calculator").await?;
    /// let router = Router::new(MessagePack).method("add", async |(a, b): (i64, i64)| Ok(a + b));
    /// tokio::spawn(server.serve(router));
    /// assert_eq!(sum.await?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for_service(self) -> Self {
        Self { waits_for_service: true, ..self }
    }

    /// Sets the type of the errors that the method declares. The call returns them in
    /// [`CallError::Declared`].
    pub fn declares<N: Declared>(self) -> CallBuilder<'c, D, S, N> {
        let Self { client, message, invalid, ttl, waits_for_service, .. } = self;
        CallBuilder { client, message, invalid, ttl, waits_for_service, decoder: as_declared }
    }

    /// Sends the call and waits for its result.
    ///
    /// Dropping the future cancels the call: the client forgets it, and the server may or may not
    /// process it.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; [`CallError::Declared`] if the peer answered with an error that the
    /// method [declares](Self::declares).
    pub async fn call<T: DeserializeOwned>(
        self,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError<E>> {
        let (client, decoder) = (self.client, self.decoder);
        let outcome = match self.into_request(args) {
            Ok(request) => client.call_decoded(request, decoder).await,
            Err(error) => Err(error.into()),
        };
        // A call that cannot be encoded, that a layer refuses, or that a router in this process
        // answers, touches nothing of tokio. Without this, a loop over such calls would keep other
        // tasks from its thread. After the call, so that concurrent calls of a task keep their
        // order.
        consume_budget().await;
        outcome
    }

    /// Sends a one-way call, which has no result.
    ///
    /// A one-way call has no deadline of its own, and inherits none from the handler that sends it:
    /// its handler runs to its end. [`timeout`](Self::timeout) limits the sending, and
    /// [`ttl`](Self::ttl) the time until the call begins.
    ///
    /// Resolves when the backend has the request in the strongest sense that it supports, such as
    /// a broker's confirm. A failure of the method, or a missing method, appears only in the log
    /// of the server.
    ///
    /// Dropping the future before it resolves may or may not send the call.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] for a failure on this side. If the timeout passed in the sending, the
    /// kind is [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded). If it passed earlier, or
    /// in the wait for a server, the call fails as [`CallError::DeadlineExceeded`].
    pub async fn send<A: Serialize + ?Sized>(self, args: &A) -> Result<(), CallError> {
        let (client, send_by) = (self.client, self.message.deadline);
        let (ttl, keep_expired) = (self.ttl, self.message.keep_expired);
        let sent = match self.into_request(args) {
            Ok(request) => {
                let mut request = Request { oneway: true, send_by, ..request };
                request.message.deadline = ttl.map(Deadline::after);
                request.message.keep_expired = keep_expired && ttl.is_some();
                // Before the layers, so that each attempt has the same.
                request.message.message_id.get_or_insert_with(MessageId::unique);
                let method = request.message.method.clone();
                let sent = client.send(request).await;
                sent.map_err(|error| error.with_target(&client.target(method)))
            }
            Err(error) => Err(error.into()),
        };
        consume_budget().await;
        sent
    }

    /// Sends the call in a task of its own, and returns without waiting.
    ///
    /// Await the returned handle for the result, or drop it to cancel the call.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] if the arguments cannot be encoded, or the method is not an address.
    /// The handle returns later failures.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start<T>(
        self,
        args: &(impl Serialize + ?Sized),
    ) -> Result<CallHandle<T, E>, CallError<E>>
    where
        T: DeserializeOwned + Send + 'static,
        S: Clone,
        E: Send + 'static,
    {
        let (client, decoder) = (self.client.clone(), self.decoder);
        let request = self.into_request(args)?;
        Ok(CallHandle::spawn(request, async move |request| {
            client.call_decoded(request, decoder).await
        }))
    }

    fn into_request<A: Serialize + ?Sized>(self, args: &A) -> Result<Request> {
        let Self { client, mut message, invalid, waits_for_service, .. } = self;
        if let Some(error) = invalid {
            return Err(error);
        }
        message.deadline.as_mut().map(limit_deadline);
        message.keep_expired = false;
        // The marks of a request are set by the requester.
        let at_most_once = std::mem::take(&mut message.at_most_once);
        let idempotent = std::mem::take(&mut message.idempotent) && !at_most_once;
        client.dialect.encode_call(args, &mut message).map_err(Error::unsent)?;
        propagate(&mut message);
        let request = Request::new(message);
        Ok(Request { idempotent, at_most_once, wait_for_service: waits_for_service, ..request })
    }
}

impl<D, S, E> fmt::Debug for CallBuilder<'_, D, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBuilder").field("method", &self.message.method).finish_non_exhaustive()
    }
}
