//! Running servers, workers and listeners.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::end_reason::Ended;
use super::lifecycle::Lifecycle;
use super::serving_task::{RuntimeEnded, ServingTask};
use crate::error::{Error, ErrorKind, Result};
use crate::panic_containment::contain;

/// A running server, worker or listener: a future to await or to spawn.
///
/// Made by [`Server::serve`](crate::Server::serve), [`Worker::work`](crate::Worker::work),
/// [`Listener::listen`](crate::Listener::listen) and similar methods. The future resolves to the
/// reason for the end, when all running handlers have ended:
///
/// - [`Ended::Drained`] after a drain,
/// - [`Ended::Closed`] if the program closed the transport,
/// - an [`Error`] if nothing can be received any more: [`Denied`] if the broker
///   refused for good, for instance revoked credentials; [`Overloaded`] for a listener whose
///   overflow policy is to [disconnect](crate::Overflow::Disconnect).
///
/// A program that ends with its server returns this error from `main`, so that its supervisor
/// restarts it. The error is logged, too, at level error, for a task that is not awaited.
///
/// The first poll moves the receive loop to a task of the runtime, so that messages do not wake the
/// thread that waits for this future. If that runtime ends, the future resolves to an error of kind
/// [`Closed`].
///
/// Dropping the future stops at once. Running handlers are dropped, and their deliveries are
/// redelivered where the transport can settle.
///
/// [`Closed`]: crate::ErrorKind::Closed
/// [`Denied`]: crate::ErrorKind::Denied
/// [`Overloaded`]: crate::ErrorKind::Overloaded
#[must_use = "nothing is served unless it is awaited or spawned"]
pub struct Serving {
    work: ServingTask<Result<Ended>>,
    lifecycle: Lifecycle,
}

impl Serving {
    /// Boxes `work`, once in the life of a server, a worker or a listener.
    pub(crate) fn new(
        lifecycle: Lifecycle,
        work: impl Future<Output = Result<Ended>> + Send + 'static,
    ) -> Self {
        Self { work: ServingTask::new(work), lifecycle }
    }

    /// Drains when `signal` resolves, as [`ServerHandle::drain`](crate::rpc::ServerHandle::drain)
    /// does.
    ///
    /// The returned future resolves when all running handlers have ended. Drop it to stop handlers
    /// that take too long.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{CallError, Memory, Router, Server};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), CallError> {
    /// # let transport = Memory::new();
    /// # let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// # stop.send(()).unwrap();
    /// # let ctrl_c = async { drop(stopped.await) };
    /// let router = Router::new(MessagePack).method("ping", async |(): ()| Ok("pong"));
    /// // Such as `async { drop(tokio::signal::ctrl_c().await) }`.
    /// let server = Server::bind(&transport, "pinger").await?;
    /// server.serve(router).with_graceful_shutdown(ctrl_c).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        let Self { mut work, lifecycle } = self;
        let draining = lifecycle.clone();
        let work = async move {
            tokio::select! {
                ended = &mut work => return ended.unwrap_or_else(runtime_ended),
                // A signal that panics asks for a drain as well.
                _ = contain(signal) => draining.begin_drain(),
            }
            work.await.unwrap_or_else(runtime_ended)
        };
        Self::new(lifecycle, work)
    }
}

impl Future for Serving {
    type Output = Result<Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.work).poll(cx).map(|ended| ended.unwrap_or_else(runtime_ended))
    }
}

fn runtime_ended(_: RuntimeEnded) -> Result<Ended> {
    Err(Error::new(ErrorKind::Closed, "cannot receive any more: the runtime has ended").fatal())
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}
