//! The [`Handler`] trait, implemented for async functions.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extract::Extract;
use super::handler_options::HandlerOptions;
use crate::error::{Fault, Result};
use crate::service::Request;

/// An async function that processes calls, jobs or events. Async functions implement it; programs
/// do not.
///
/// The function takes up to four values that implement [`Extract`], then its arguments as one
/// value. `M` is a marker for the types of the parameters, and `S` is the state of the router.
#[diagnostic::on_unimplemented(
    message = "this function cannot be a handler",
    label = "not a handler",
    note = "a handler is async, takes up to four things that implement `Extract` (such as `Context`, `Headers`, and \
            `State<_>` of what the router has as its state), then its arguments as one value that serde can read, and \
            answers `Result<_, Fault>` with a value that serde can write"
)]
pub trait Handler<M, S = ()>: Send + Sync + 'static {
    /// The arguments.
    type Args: DeserializeOwned + Send;
    /// The result.
    type Output: Serialize + Send;

    /// Returns the options of the handler. The default has none.
    fn options(&self) -> HandlerOptions {
        HandlerOptions::default()
    }

    /// Runs the function.
    ///
    /// # Errors
    ///
    /// The fault of an [`Extract`], or that of the function.
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
