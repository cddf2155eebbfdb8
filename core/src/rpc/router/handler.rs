//! Async functions as handlers.

use std::future::Future;
use std::marker::PhantomData;

use futures_core::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Extract, answer};
use crate::dialect::Dialect;
use crate::error::report;
use crate::error::{CallError, Code, Fault, Result};
use crate::service::{Reply, Request};

/// An async function that can be a method, or work off jobs or events; you never implement it.
///
/// `M` tells apart what the function takes: its arguments, after up to four things to [`Extract`].
/// `S` is the state of the router.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a handler",
    label = "not a handler",
    note = "a handler is async, takes up to four things that implement `Extract` (such as `Context`, `Headers`, and \
            `State<_>` of what the router has as its state), then its arguments as one value that serde can read, and \
            answers `Result<_, Fault>` with a value that serde can write"
)]
pub trait Handler<M, S = ()>: Send + Sync + 'static {
    /// What it takes.
    type Args: DeserializeOwned + Send;
    /// What it answers.
    type Output: Serialize + Send;

    /// Runs it.
    fn handle(
        &self,
        request: &Request,
        state: &S,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, Fault>> + Send;
}

macro_rules! handlers {
    ($($extracted:ident)*) => {
        impl<F, Fut, $($extracted,)* A, T, S> Handler<($($extracted,)* A,), S> for F
        where
            F: Fn($($extracted,)* A) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<T, Fault>> + Send,
            $($extracted: Extract<S>,)*
            A: DeserializeOwned + Send,
            T: Serialize + Send,
            S: Sync,
        {
            type Args = A;
            type Output = T;

            #[allow(unused_variables, reason = "a handler may ask for nothing")]
            async fn handle(&self, request: &Request, state: &S, args: A) -> Result<T, Fault> {
                self($($extracted::extract(request, state)?,)* args).await
            }
        }
    };
}

handlers!();
handlers!(X1);
handlers!(X1 X2);
handlers!(X1 X2 X3);
handlers!(X1 X2 X3 X4);

/// A handler whose types are forgotten, in its router's table.
pub(super) trait Method<D>: Send + Sync {
    /// Carries out a request of its own.
    fn call<'a>(
        &'a self,
        dialect: &'a D,
        request: Request,
    ) -> BoxFuture<'a, Result<Reply, CallError>>;

    /// Carries out a request that others carry out as well.
    fn share<'a>(&'a self, dialect: &'a D, request: &'a Request) -> BoxFuture<'a, Reply>;
}

/// A handler and the state that it is given.
pub(super) struct Typed<H, M, S> {
    handler: H,
    state: S,
    marker: PhantomData<fn() -> M>,
}

impl<H, M, S> Typed<H, M, S> {
    pub(super) fn new(handler: H, state: S) -> Self {
        Self { handler, state, marker: PhantomData }
    }

    async fn reply<D: Dialect>(&self, dialect: &D, request: &Request) -> Reply
    where
        H: Handler<M, S>,
    {
        let outcome = match dialect.decode_call(&request.message) {
            Ok(args) => self.handler.handle(request, &self.state, args).await,
            Err(error) => Err(Fault::new(Code::InvalidArguments, report(&error))),
        };
        answer(dialect, request, &outcome)
    }
}

impl<D, H, M, S> Method<D> for Typed<H, M, S>
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
        Box::pin(async move { Ok(self.reply(dialect, &request).await) })
    }

    fn share<'a>(&'a self, dialect: &'a D, request: &'a Request) -> BoxFuture<'a, Reply> {
        Box::pin(self.reply(dialect, request))
    }
}
