//! Single handlers as services.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::dialect::Dialect;
use crate::error::report;
use crate::error::{CallError, Code, Fault, Result};
use crate::message::Message;
use crate::rpc::Handler;
use crate::service::{Reply, Request, Service};

/// A service that runs one handler for every request, and ignores the method.
///
/// [`Worker::work`](crate::Worker::work) and [`Listener::listen`](crate::Listener::listen) make
/// one.
/// A program makes one to put layers around a handler, and gives it to
/// [`Worker::serve`](crate::Worker::serve) or [`Listener::serve`](crate::Listener::serve):
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::middleware::{Layer, LogFailures};
/// use polywire_core::worker::HandlerService;
///
/// # fn made<S: polywire_core::Service>(_: S) {}
/// let handler = HandlerService::new(MessagePack, async |file: String| Ok(println!("{file}")));
/// let service = LogFailures::of("thumbnails").layer(handler);
/// # made(service);
/// ```
pub struct HandlerService<D, H, M> {
    dialect: D,
    handler: H,
    marker: PhantomData<fn() -> M>,
}

impl<D, H, M> HandlerService<D, H, M> {
    /// Creates a service whose arguments are encoded in `dialect`.
    #[must_use]
    pub fn new(dialect: D, handler: H) -> Self {
        Self { dialect, handler, marker: PhantomData }
    }
}

impl<D: Dialect, H: Handler<M>, M: 'static> Service for HandlerService<D, H, M> {
    async fn call(&self, mut request: Request) -> Result<Reply, CallError> {
        let args = decode(&self.dialect, &mut request.message)?;
        self.handler.handle(&request, &(), args).await?;
        Ok(Reply::default())
    }
}

impl<D, H, M> fmt::Debug for HandlerService<D, H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerService")
    }
}

/// Decodes the arguments, or returns the fault of a message that the backend could not decode.
fn decode<D: Dialect, T: DeserializeOwned>(dialect: &D, message: &mut Message) -> Result<T, Fault> {
    if let Some(unreadable) = message.fault.take() {
        return Err(*unreadable);
    }
    dialect.decode_call(message).map_err(|error| Fault::new(Code::InvalidArguments, report(&error)))
}
