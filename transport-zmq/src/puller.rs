//! The pulling end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use polywire_core::transport::{Delivery, Inbound, Receiver};
use polywire_core::{Address, Limits, Result, Window};

use crate::config::Settings;
use crate::engine::{self, Pull};
use crate::error::config;
use crate::plan::{Change, Plan};
use crate::transport::{Bound, End, Listening};
use crate::wire::{Frames, Garbled, Native, Role, Wire};

/// Opens a pulling end of `queue`.
pub(crate) async fn open(
    settings: &Settings,
    plan: &Plan,
    queue: &Address,
    window: Window,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Receiver)> {
    if plan.is_empty() {
        return Err(config("no endpoint is for serving ends"));
    }
    let socket = engine::open_pull(settings, Some(queue), window)?;
    let jobs = socket.jobs();
    let real = engine::add_endpoints(&*socket, plan).await?;
    let listening = Listening::new(bound);
    listening.add(real);
    let puller = Arc::new(Puller { socket, listening, closed: AtomicBool::new(false) });
    let jobs = Jobs { puller: puller.clone(), jobs, queue: queue.clone(), limits: settings.limits };
    Ok((puller, Receiver::new(jobs)))
}

/// The socket of a pulling end.
struct Puller {
    socket: Arc<dyn Pull>,
    listening: Listening,
    /// Stopped or closed: it has no endpoints any more, and gets none.
    closed: AtomicBool,
}

impl End for Puller {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
        let changed = async {
            if self.closed.load(Ordering::Acquire) {
                return Ok(None);
            }
            let real = engine::change_endpoint(&*self.socket, change).await?;
            self.listening.note(change, real.as_ref());
            Ok(real)
        };
        changed.boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        self.listening.clear();
        self.socket.close()
    }
}

/// The receiving half. Dropped, it takes the socket with it, so that pushers see that nobody is
/// there.
struct Jobs {
    puller: Arc<Puller>,
    jobs: BoxStream<'static, Frames>,
    queue: Address,
    limits: Limits,
}

impl Jobs {
    /// What came as a job of ours, or as something that was meant to be one.
    fn read(&self, frames: Frames) -> Option<Result<Delivery>> {
        match Native.decode(frames, &self.limits) {
            Ok((Role::Job(queue), mut message)) if queue == self.queue => {
                // Nobody waits for an answer.
                message.id = None;
                Some(Ok(Delivery::settled(message)))
            }
            Ok((role, _)) => {
                tracing::warn!(?role, queue = %self.queue, "dropped what came where jobs of a queue come");
                None
            }
            Err(Garbled { service: Some(queue), error, .. }) if queue != self.queue => {
                tracing::warn!(%queue, ?error, "dropped a job of another queue that cannot be read");
                None
            }
            Err(Garbled { error, .. }) => Some(Err(error)),
        }
    }
}

impl Stream for Jobs {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(frames) = ready!(self.jobs.as_mut().poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(item) = self.read(frames) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl Inbound for Jobs {
    fn stop(self: Pin<&mut Self>) {
        self.puller.closed.store(true, Ordering::Release);
        self.puller.listening.clear();
        self.puller.socket.stop();
    }
}
