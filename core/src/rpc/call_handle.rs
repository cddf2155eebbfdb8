//! Handles of in-flight calls.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{CallError, Error, ErrorKind};
use crate::panic_containment::Panicked;
use crate::service::{Request, SentSignal};

/// A call in flight; made by [`CallBuilder::start`](crate::rpc::CallBuilder::start).
///
/// Awaiting it returns the result; dropping it cancels the call. The call runs in a task of its
/// own, so it makes progress even if the handle is not polled. It ends by its deadline at the
/// latest.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Router};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let router = Router::new(MessagePack).method("double", async |n: i64| Ok(2 * n));
/// # let client = Client::new(std::sync::Arc::new(router), MessagePack);
/// let first = client.request("double").start::<i64>(&4)?;
/// let second = client.request("double").start::<i64>(&5)?;
/// assert_eq!((first.await?, second.await?), (8, 10));
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the handle cancels the call"]
pub struct CallHandle<T, E = Infallible> {
    task: JoinHandle<Result<T, CallError<E>>>,
    sent: oneshot::Receiver<()>,
}

impl<T, E> CallHandle<T, E> {
    /// Spawns a task that makes the call by `call`.
    pub(super) fn spawn<F>(mut request: Request, call: impl FnOnce(Request) -> F) -> Self
    where
        T: Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<T, CallError<E>>> + Send + 'static,
    {
        let (sender, sent) = oneshot::channel();
        request.sent_signal = Some(SentSignal::new(sender));
        Self { task: tokio::spawn(call(request)), sent }
    }

    /// Waits until the backend has the request, or the call has ended.
    ///
    /// The backend has it in the strongest sense that it supports, such as a broker's confirm. The
    /// future may be dropped, and the method called again.
    pub async fn sent(&mut self) {
        if !self.sent.is_terminated() {
            // An error means that the call ended unsent; awaiting the handle returns the cause.
            let _ = (&mut self.sent).await;
        }
    }

    /// Returns `true` if the outcome is available.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl<T, E> Future for CallHandle<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = ready!(Pin::new(&mut self.task).poll(cx));
        // Joining fails only if the runtime shuts down, or a middleware of the program panicked.
        Poll::Ready(joined.unwrap_or_else(|error| {
            let gone = Error::new(ErrorKind::Closed, "cannot finish the call: its task is gone");
            // The payload of a panic is dropped here, where its own panic is caught.
            Err(match error.try_into_panic() {
                Ok(panic) => gone.with("panic", Panicked::new(panic)).into(),
                Err(error) => gone.with_source(error).into(),
            })
        }))
    }
}

impl<T, E> Drop for CallHandle<T, E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T, E> fmt::Debug for CallHandle<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
