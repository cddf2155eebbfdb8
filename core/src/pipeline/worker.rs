//! The end that works jobs off with a handler.

use std::fmt;
use std::future::IntoFuture;

use futures_core::future::BoxFuture;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::Address;
use crate::rpc::Handler;
use crate::service::Service;
use crate::transport::{Transport, Window};
use crate::worker::receive_loop::EndpointLabel;
use crate::worker::work_loop::{HandlerService, WorkHandle, WorkLoop};
use crate::worker::{Retries, Serving};

/// WorkLoop off the jobs of a queue with a handler, at most a [`Window`] of them at once.
///
/// A job whose handler succeeds is acknowledged; one whose handler fails, or panics, is tried
/// again, by this worker or another one, as its [`Retries`] say: at once, then after pauses that
/// grow. What fails the last time is kept among the [`DeadLetters`](crate::DeadLetters) of the
/// queue, where the transport has such (RabbitMQ, memory); so is, at once, a job that cannot be
/// read, and one that has come more often than it may without anybody having said what became of
/// it: it seems to end the process that works on it, and is not run again. Where there are no dead
/// letters, all these are discarded, with a line in the log; where the transport does not settle,
/// every job has one attempt.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{Memory, Pusher, Result, Window, Worker};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let worker = Worker::bind(&transport, "thumbnails", MessagePack).window(Window::new(4)).await?;
/// let handle = worker.handle();
/// let working = tokio::spawn(worker.work(|(file, pixels): (String, u32)| async move {
///     println!("{file} becomes {pixels} pixels wide");
///     Ok(())
/// }));
/// # let pusher = Pusher::connect(&transport, "thumbnails", MessagePack).await?;
/// # pusher.push(&("cat.jpg", 128)).await?;
/// # while handle.stats().done == 0 { tokio::task::yield_now().await }
/// // … later, for instance on a signal:
/// handle.drain().await;
/// # Ok(())
/// # }
/// ```
pub struct Worker<D> {
    queue: Address,
    dialect: D,
    works: WorkLoop,
}

impl<D: Dialect> Worker<D> {
    /// Binds to `queue` on `transport`. Await it, or set options first.
    ///
    /// # Errors
    ///
    /// As [`Puller::bind`](crate::Puller::bind).
    pub fn bind<'t, T: Transport>(
        transport: &'t T,
        queue: impl TryInto<Address, Error: Into<Error>>,
        dialect: D,
    ) -> WorkerBind<'t, T, D> {
        let queue = queue.try_into().map_err(Into::into);
        WorkerBind {
            transport,
            queue,
            dialect,
            window: Window::default(),
            retries: Retries::default(),
            insists: false,
        }
    }

    /// A handle to stop the worker by, and to see what it does.
    #[must_use]
    pub fn handle(&self) -> WorkHandle {
        self.works.handle.clone()
    }

    /// WorkLoop until it is drained, or the transport is closed.
    ///
    /// The handler takes the job, or a [`Context`](crate::Context) and the job. Dropping the future
    /// stops at once: what runs is dropped, and goes to another worker where the transport can
    /// carry that.
    pub fn work<H: Handler<M>, M: 'static>(self, handler: H) -> Serving {
        let service = HandlerService::new(self.dialect.clone(), handler);
        self.serve(service)
    }

    /// WorkLoop with a service, such as a [`Router`](crate::Router) whose methods are kinds of
    /// jobs; otherwise as [`work`](Self::work).
    pub fn serve<S: Service>(self, service: S) -> Serving {
        self.works.run(service)
    }
}

impl<D> fmt::Debug for Worker<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// A worker about to bind; made by [`Worker::bind`]. Await it.
#[must_use = "a worker does not bind unless it is awaited"]
pub struct WorkerBind<'t, T, D> {
    transport: &'t T,
    queue: Result<Address>,
    dialect: D,
    window: Window,
    retries: Retries,
    /// Whether the backend has to be able to do what the policy says.
    insists: bool,
}

impl<T, D> WorkerBind<'_, T, D> {
    /// How many jobs are worked on at once. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// How often a job that fails is tried in all, at least once, otherwise as by default, and as
    /// far as the transport can. The default is 5.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { retries: Retries::new(attempts), insists: false, ..self }
    }

    /// How often and how soon a job that fails is tried again, and what becomes of it then. A
    /// transport that cannot do all of it is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). The default is that of
    /// [`Retries`], as far as the transport can: one that cannot wait tries again at once, one
    /// that keeps no dead letters discards.
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, insists: true, ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for WorkerBind<'t, T, D> {
    type Output = Result<Worker<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, queue, dialect, window, retries, insists } = self;
        Box::pin(async move {
            let (queue, can) = (queue?, transport.capabilities());
            if insists {
                retries.check(&can)?;
            }
            let receiver = transport.puller(&queue, window).await?;
            let works = WorkLoop::new(
                EndpointLabel { end: "worker", name: queue.clone() },
                receiver,
                window,
                retries,
                can,
            );
            Ok(Worker { queue, dialect, works })
        })
    }
}

impl<T, D> fmt::Debug for WorkerBind<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBind").field("queue", &self.queue).finish_non_exhaustive()
    }
}
