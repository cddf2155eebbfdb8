//! An end at work.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;

use crate::worker::receive_loop::Lifecycle;

/// A server, a worker or a listener at work, until it is drained or the transport is closed: a
/// future, to be awaited or spawned. Made by [`Server::serve`](crate::Server::serve),
/// [`Worker::work`](crate::Worker::work), [`Listener::listen`](crate::Listener::listen) and their
/// like.
///
/// Dropping it stops at once: what runs is dropped, and goes to another one where the transport can
/// carry that.
#[must_use = "nothing is served unless it is awaited or spawned"]
pub struct Serving {
    work: BoxFuture<'static, ()>,
    phases: Lifecycle,
}

impl Serving {
    /// Boxed once for an end's whole life.
    pub(crate) fn new(phases: Lifecycle, work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { work: Box::pin(work), phases }
    }

    /// Drains as soon as `signal` is ready, as
    /// [`ServerHandle::drain`](crate::rpc::ServerHandle::drain) does, and is ready itself when
    /// what ran has finished. What takes too long is cut off by whoever drops it.
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
    /// Server::bind(&transport, "pinger").await?.serve(router).with_graceful_shutdown(ctrl_c).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        let Self { mut work, phases } = self;
        let told = phases.clone();
        let work = async move {
            tokio::select! {
                () = &mut work => return,
                () = signal => told.begin_to_drain(),
            }
            work.await;
        };
        Self::new(phases, work)
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving")
    }
}
