//! Handlers and methods that run at most once.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::erased_handler::Method;
use super::handler::Handler;
use super::handler_options::{HandlerOptions, Marked};
use crate::error::{CallError, Fault, Result};
use crate::message::Message;
use crate::service::{Reply, Request};

/// Marks a handler: no call of it is ever begun twice. Without the mark, a request whose server
/// dies is run again by another server, where the transport can settle.
///
/// When the arguments are decoded, the server asks the caller for the permission to begin; see
/// [`Request::begin_at_most_once`]. The caller permits one delivery of its request. So:
///
/// - A request that was not begun when its server died or drained runs on another server.
/// - If the server of a call dies after it has begun, the caller gets a fault of
///   [`Code::Interrupted`](crate::Code::Interrupted) within two seconds of that, and not at its
///   deadline. The call may have been run, in full or in part.
/// - A handler that [declines](crate::Fault::declined) has begun: its caller gets the fault, and no
///   other server the request.
/// - A one-way call is settled before it begins. If its server dies, nothing runs it again.
/// - Jobs and events have no callers. A [`Worker`](crate::Worker) or [`Listener`](crate::Listener)
///   does not begin one again that was delivered before: it goes to the dead letters, or is
///   discarded. So a handler that fails gets no further attempt.
///
/// The page on reliability has a table of the promises for each transport. Where the transport
/// redelivers, each call costs a message to the caller and one back.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Router, at_most_once};
///
/// let shop = Router::new(MessagePack)
///     .method("price", async |article: String| Ok(article.len()))
///     .method("charge", at_most_once(async |cents: u64| Ok(cents)));
/// # let _ = shop;
/// ```
///
/// [`Router::at_most_once`](crate::Router::at_most_once) marks all methods of a router, and
/// [`ServerBind::at_most_once`](crate::rpc::ServerBind::at_most_once) all requests of a server. A
/// caller marks a call with
/// [`CallBuilder::at_most_once`](crate::rpc::CallBuilder::at_most_once).
pub fn at_most_once<H>(handler: H) -> AtMostOnce<H> {
    AtMostOnce(handler)
}

/// A handler that runs at most once; made by [`at_most_once`].
#[derive(Clone, Copy, Debug)]
pub struct AtMostOnce<H>(H);

#[diagnostic::do_not_recommend]
impl<H: Handler<M, S>, M, S: Sync> Handler<Marked<M>, S> for AtMostOnce<H>
where
    H::Args: DeserializeOwned + Send,
{
    type Args = H::Args;
    type Output = H::Output;

    fn options(&self) -> HandlerOptions {
        self.0.options()
    }

    async fn handle(
        &self,
        request: &Request,
        state: &S,
        args: H::Args,
    ) -> Result<H::Output, Fault> {
        request.begin_at_most_once().await?;
        self.0.handle(request, state, args).await
    }
}

/// A method of a router whose methods all run at most once.
pub(super) struct AtMostOnceMethod<D>(pub(super) Arc<dyn Method<D>>);

impl<D: Send + Sync> Method<D> for AtMostOnceMethod<D> {
    fn call<'a>(
        &'a self,
        dialect: &'a D,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, CallError>> {
        Box::pin(async move {
            match request.begin_at_most_once().await {
                Ok(()) => self.0.call(dialect, request).await,
                Err(fault) => Ok(Reply::from(Message::failed(fault))),
            }
        })
    }

    fn call_shared<'a>(&'a self, dialect: &'a D, request: &'a Request) -> BoxFuture<'a, Reply> {
        self.0.call_shared(dialect, request)
    }
}
