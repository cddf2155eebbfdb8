//! The task of a running server, worker or listener, which stops when its handle is dropped.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

/// A future that moves to a task of its own when it is first polled.
///
/// A future that receives messages is woken by each of them. The main task of a program runs on its
/// own thread under `block_on`, and each wake-up of that thread is a system call. A task of the
/// runtime is woken by the thread that reads the socket.
///
/// Dropping the value drops the future at once, unless the future is being polled: then it is
/// dropped after this poll. Outside of a runtime, the future is polled in place.
pub(super) enum ServingTask<T> {
    /// Not polled yet, or polled in place.
    Here(BoxFuture<'static, T>),
    Spawned {
        work: Arc<Work<T>>,
        task: JoinHandle<T>,
    },
}

/// The runtime of a task has ended before the task.
#[derive(Debug)]
pub(super) struct RuntimeEnded;

impl<T: Send + 'static> ServingTask<T> {
    /// Boxes `work`, which is not polled yet.
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Here(Box::pin(work))
    }

    /// Moves the future to a task, in the span of its first poll.
    fn spawn(&mut self, runtime: &Handle) {
        if let Self::Here(work) = self {
            let empty: BoxFuture<'static, T> = Box::pin(std::future::pending());
            let work = std::mem::replace(work, empty).instrument(Span::current());
            let work = Arc::new(Work(Mutex::new(Some(Box::pin(work)))));
            let task = runtime.spawn(Polling(work.clone()));
            *self = Self::Spawned { work, task };
        }
    }
}

impl<T: Send + 'static> Future for ServingTask<T> {
    type Output = Result<T, RuntimeEnded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let (Self::Here(_), Ok(runtime)) = (&*self, Handle::try_current()) {
            self.spawn(&runtime);
        }
        match &mut *self {
            Self::Here(work) => work.as_mut().poll(cx).map(Ok),
            Self::Spawned { task, .. } => Poll::Ready(match ready!(Pin::new(task).poll(cx)) {
                Ok(output) => Ok(output),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(_) => Err(RuntimeEnded),
                },
            }),
        }
    }
}

impl<T> Drop for ServingTask<T> {
    fn drop(&mut self) {
        if let Self::Spawned { work, task } = self {
            // Ends the task, which else would wait for wake-ups that never come. Where the future
            // is being polled, the end of the task drops it.
            task.abort();
            work.stop();
        }
    }
}

/// The future of a task, until its end.
pub(super) struct Work<T>(Mutex<Option<BoxFuture<'static, T>>>);

impl<T> Work<T> {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        // No other lock is taken but by `stop`, which does not wait.
        let mut future = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &mut *future else { return Poll::Pending };
        let output = ready!(running.as_mut().poll(cx));
        take(future);
        Poll::Ready(output)
    }

    /// Drops the future, unless it is being polled.
    fn stop(&self) {
        match self.0.try_lock() {
            Ok(future) => take(future),
            Err(TryLockError::Poisoned(poisoned)) => take(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

/// Drops a future without the lock: the future may drop values of the program.
fn take<T>(mut future: MutexGuard<'_, Option<BoxFuture<'static, T>>>) {
    let taken = future.take();
    drop(future);
    drop(taken);
}

/// The task. Its end, also with its runtime, drops the future.
struct Polling<T>(Arc<Work<T>>);

impl<T> Future for Polling<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.poll(cx)
    }
}

impl<T> Drop for Polling<T> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn dropping_the_handle_drops_the_future_at_once_and_ends_the_task() {
        let (alive, mut gone) = oneshot::channel::<()>();
        let mut task = ServingTask::new(async move {
            let _alive = alive;
            pending::<()>().await;
        });
        assert!((&mut task).now_or_never().is_none());
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
        drop(task);
        assert!(gone.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        while Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn future_that_drops_its_own_handle_ends_after_its_poll() {
        let (alive, gone) = oneshot::channel::<()>();
        let (send, mut receive) = oneshot::channel::<ServingTask<()>>();
        let mut task = ServingTask::new(async move {
            let _alive = alive;
            poll_fn(|cx| receive.poll_unpin(cx).map(drop)).await;
            pending::<()>().await;
        });
        assert!((&mut task).now_or_never().is_none());
        assert!(send.send(task).is_ok());
        assert!(timeout(LONG, gone).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn panic_reaches_the_handle() {
        let task = ServingTask::new(async { panic!("a panic of the work") });
        let panic = std::panic::AssertUnwindSafe(task).catch_unwind().await;
        let panic = panic.map(|_: Result<(), RuntimeEnded>| ()).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a panic of the work"));
    }

    #[test]
    fn end_of_the_runtime_drops_the_future_and_reaches_the_handle() {
        let (alive, mut gone) = oneshot::channel::<()>();
        let mut task = ServingTask::new(async move {
            let _alive = alive;
            pending::<()>().await;
        });
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime();
        first.block_on(async { assert!((&mut task).now_or_never().is_none()) });
        drop(first);
        assert!(gone.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(matches!(runtime().block_on(task), Err(RuntimeEnded)));
    }

    #[test]
    fn future_outside_of_a_runtime_is_polled_in_place() {
        let task = ServingTask::new(async { 5 });
        assert!(matches!(task.now_or_never(), Some(Ok(5))));
    }
}
