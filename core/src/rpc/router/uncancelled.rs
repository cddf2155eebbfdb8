//! Handlers that run to their end once they have begun.

use std::future::Future;

use super::handler::Handler;
use super::handler_options::{HandlerOptions, Marked};
use crate::error::{Fault, Result};
use crate::service::Request;

/// A handler with options; made by [`uncancelled`].
#[derive(Clone, Debug)]
pub struct WithOptions<H> {
    handler: H,
    options: HandlerOptions,
}

/// Makes a handler run to its end once it has begun, even if its caller leaves.
///
/// The handler is not dropped when its caller cancels, nor at its caller's deadline. A drain waits
/// for it. Calls that the handler makes have deadlines of their own. The request counts for the
/// [`Window`](crate::Window), and is not settled, until the handler ends; its reply is dropped if
/// the caller has gone. A request whose deadline has passed before the handler began does not run.
///
/// The handler is still dropped if the program drops the [`Serving`](crate::worker::Serving)
/// future, if a layer of the program's own drops it, or if the process ends. Where the transport
/// can settle, the request is then redelivered.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::Fault;
/// use polywire_core::Router;
/// use polywire_core::rpc::uncancelled;
///
/// async fn transfer((from, to, amount): (u64, u64, u64)) -> Result<(), Fault> {
///     println!("take {amount} from {from}, then give it to {to}");
///     Ok(())
/// }
///
/// let router = Router::new(MessagePack).method("transfer", uncancelled(transfer));
/// # let _ = router;
/// ```
///
/// In a trait, the same is said by `#[method(uncancelled)]`, or by `#[service(uncancelled)]` for
/// all methods.
pub fn uncancelled<H>(handler: H) -> WithOptions<H> {
    WithOptions { handler, options: HandlerOptions { uncancelled: true } }
}

#[diagnostic::do_not_recommend]
impl<H: Handler<M, S>, M, S> Handler<Marked<M>, S> for WithOptions<H> {
    type Args = H::Args;
    type Output = H::Output;

    fn options(&self) -> HandlerOptions {
        let inner = self.handler.options();
        HandlerOptions { uncancelled: self.options.uncancelled || inner.uncancelled }
    }

    fn handle(
        &self,
        request: &Request,
        state: &S,
        args: H::Args,
    ) -> impl Future<Output = Result<H::Output, Fault>> + Send {
        if self.options.uncancelled {
            request.mark_uncancelled();
        }
        self.handler.handle(request, state, args)
    }
}
