//! Methods of a router: handlers with their types erased.

use std::marker::PhantomData;

use futures_core::future::BoxFuture;
use serde::Serialize;

use super::Handler;
use crate::dialect::Dialect;
use crate::error::report;
use crate::error::{CallError, Code, Fault, Result};
use crate::message::Message;
use crate::service::{Reply, Request};

/// A handler with its types erased, in the table of a router.
pub(in crate::rpc) trait Method<D>: Send + Sync {
    /// Processes a request.
    fn call<'a>(
        &'a self,
        dialect: &'a D,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, CallError>>;

    /// Processes a request that other handlers process as well.
    fn call_shared<'a>(&'a self, dialect: &'a D, request: &'a Request) -> BoxFuture<'a, Reply>;
}

/// A handler with the state of its router.
pub(super) struct StatefulHandler<H, M, S> {
    handler: H,
    state: S,
    marker: PhantomData<fn() -> M>,
}

impl<H, M, S> StatefulHandler<H, M, S> {
    /// Creates a method of a router that has `state`.
    pub(super) fn new(handler: H, state: S) -> Self {
        Self { handler, state, marker: PhantomData }
    }

    async fn run<D: Dialect>(&self, dialect: &D, request: &Request) -> Result<H::Output, Fault>
    where
        H: Handler<M, S>,
    {
        match dialect.decode_call(&request.message) {
            Ok(args) => self.handler.handle(request, &self.state, args).await,
            Err(error) => Err(Fault::new(Code::InvalidArguments, report(&error))),
        }
    }
}

impl<D, H, M, S> Method<D> for StatefulHandler<H, M, S>
where
    D: Dialect,
    H: Handler<M, S>,
    S: Send + Sync,
{
    fn call<'a>(
        &'a self,
        dialect: &'a D,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, CallError>> {
        Box::pin(async move {
            let outcome = self.run(dialect, &request).await;
            // The reply takes the box of the request.
            let mut message = request.message;
            let content_type = message.content_type.take();
            *message = Message { content_type, ..Message::default() };
            Ok(encode(dialect, message, &outcome))
        })
    }

    fn call_shared<'a>(&'a self, dialect: &'a D, request: &'a Request) -> BoxFuture<'a, Reply> {
        Box::pin(async move { encode_reply(dialect, request, &self.run(dialect, request).await) })
    }
}

/// Encodes the reply to a request, in the format of the request if the dialect supports it.
pub(super) fn encode_reply<D: Dialect, T: Serialize>(
    dialect: &D,
    request: &Request,
    outcome: &Result<T, Fault>,
) -> Reply {
    let content_type = request.message.content_type.clone();
    encode(dialect, Box::new(Message { content_type, ..Message::default() }), outcome)
}

/// Encodes a reply into a message that has the format of the request.
fn encode<D: Dialect, T: Serialize>(
    dialect: &D,
    mut message: Box<Message>,
    outcome: &Result<T, Fault>,
) -> Reply {
    if let Err(error) = dialect.encode_outcome(outcome.as_ref(), &mut message) {
        let what = if outcome.is_err() { "fault" } else { "result" };
        let cause = format!("cannot encode the {what}: {}", report(&error));
        *message = Message::failed(Fault::new(Code::Internal, cause));
    }
    Reply::from(message)
}
