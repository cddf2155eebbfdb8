//! Worker: runs a handler for each job.

use std::fmt;
use std::future::IntoFuture;

use futures_core::future::BoxFuture;

use tokio::task::coop::consume_budget;

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::Address;
use crate::rpc::Handler;
use crate::service::Service;
use crate::transport::{DeadLetterSource, Transport, Window, WireKind, log_received};
use crate::worker::{BoundWorker, EndpointLabel, HandlerService, Retries, Serving, WorkHandle};

/// Worker that runs a handler for each job of a queue, for at most a [`Window`] of jobs at once.
///
/// - If the handler succeeds, the job is acknowledged.
/// - If the handler fails or panics, the job is retried by this worker or another one, as its
///   [`Retries`] define: at once, then after growing pauses.
/// - If the last attempt fails, the job goes to the [`DeadLetters`](crate::DeadLetters) of the
///   queue.
/// - A job that cannot be decoded goes to the dead letters at once.
/// - A job that exceeds the delivery limit with no recorded outcome seems to crash its workers. It
///   goes to the dead letters and does not run again. Over RabbitMQ, a job that returns from a dead
///   process runs [isolated](crate::transport::Suspect) from the others that returned. They go on
///   with the attempts that they had.
///
/// Without support for dead letters (RabbitMQ and memory support them), these jobs are discarded
/// with a line in the log. Without settlement, every job has one attempt.
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
    work_loop: BoundWorker,
}

impl<D: Dialect> Worker<D> {
    /// Binds to `queue` on `transport`. Set options on the returned value, then await it.
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
            strict: false,
            asked: false,
        }
    }

    /// Returns a handle to stop the worker and to read its statistics.
    #[must_use]
    pub fn handle(&self) -> WorkHandle {
        self.work_loop.handle.clone()
    }

    /// Runs `handler` for each job until the worker is drained or the transport is closed. The
    /// output is the reason, or the error of a transport that refuses for good; see [`Serving`].
    ///
    /// The handler receives the job, or a [`Context`](crate::Context) and the job. If the future is
    /// dropped, the running handlers are dropped, and their jobs are requeued where the transport
    /// supports settlement.
    pub fn work<H: Handler<M>, M: 'static>(self, handler: H) -> Serving {
        let service = HandlerService::new(self.dialect.clone(), handler);
        self.serve(service)
    }

    /// Runs a service for each job, such as a [`Router`](crate::Router) with one method per kind of
    /// job; otherwise as [`work`](Self::work).
    pub fn serve<S: Service>(self, service: S) -> Serving {
        self.work_loop.run(service)
    }
}

impl<D> fmt::Debug for Worker<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Builder of a [`Worker`], returned by [`Worker::bind`]. Await it to bind.
///
/// If the future is dropped, the worker is not opened.
#[must_use = "a worker does not bind unless it is awaited"]
pub struct WorkerBind<'t, T, D> {
    transport: &'t T,
    queue: Result<Address>,
    dialect: D,
    window: Window,
    retries: Retries,
    /// Set if the transport must support the whole retry policy.
    strict: bool,
    /// Set if the program asked for several attempts, without insisting.
    asked: bool,
}

impl<T, D> WorkerBind<'_, T, D> {
    /// Sets the number of jobs that run at once. The default is 128.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets the total number of attempts at a failing job, at least 1, with the other defaults of
    /// [`Retries`]. The default is 5. The transport applies the policy as far as it supports it. A
    /// transport that does not settle, as ZeroMQ, has one attempt for each job; binding logs a
    /// warning then.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { retries: Retries::new(attempts), strict: false, asked: attempts > 1, ..self }
    }

    /// Sets the policy for failing jobs: attempts, pauses, and the outcome of the last failure.
    ///
    /// If the transport does not support the whole policy, binding fails with
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). Without this option the policy is
    /// [`Retries::default`], as far as the transport supports it. A transport without delayed
    /// retries retries at once; one without dead letters discards; one that does not settle has one
    /// attempt for each job.
    pub fn retries(self, retries: Retries) -> Self {
        Self { retries, strict: true, asked: false, ..self }
    }
}

impl<'t, T: Transport, D: Dialect> IntoFuture for WorkerBind<'t, T, D> {
    type Output = Result<Worker<D>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { transport, queue, dialect, window, retries, strict, asked } = self;
        Box::pin(async move {
            // A loop over openings that fail at once leaves other tasks their turns.
            consume_budget().await;
            let (queue, capabilities) = (queue?, transport.capabilities());
            if strict {
                retries.check(&capabilities, "Worker::retries")?;
            }
            if asked && !capabilities.settlement {
                tracing::warn!(%queue, "the transport does not settle: each job has one attempt");
            }
            let receiver = transport.puller(&queue, window).await?;
            let receiver = log_received(receiver, WireKind::Job, &queue);
            let work_loop = BoundWorker::new(
                EndpointLabel { role: "worker", name: queue.clone() },
                Some(DeadLetterSource::Queue(queue.clone())),
                receiver,
                window,
                retries,
                capabilities,
            );
            Ok(Worker { queue, dialect, work_loop })
        })
    }
}

impl<T, D> fmt::Debug for WorkerBind<'_, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBind").field("queue", &self.queue).finish_non_exhaustive()
    }
}
