//! Futures and functions whose panics go no further.
//!
//! `catch_unwind` alone leaves three ways around it: a future that panics when it is dropped, the
//! payload of a panic that panics when it is dropped, and code beside the caught call.
//!
//! A handler's panic becomes a fault, counted and logged, in `core/src/rpc/request_processor.rs`
//! (with `core/src/rpc/failed_request_log.rs`) and in `core/src/worker/job_processor.rs`.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::transport::LogThrottle;

/// The message of a caught panic. The payload is dropped already.
#[derive(Debug)]
pub(crate) struct Panicked(String);

impl Panicked {
    /// Takes the message of a panic, and drops the payload.
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("no message").to_owned();
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // Leaked: each drop of a payload may panic with another one.
            std::mem::forget(again);
        }
        Self(message)
    }

    /// Returns the message, without the location of the panic.
    pub(crate) fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs `function`, and catches its panic.
pub(crate) fn catch<T>(function: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(function)).map_err(Panicked::new)
}

/// Runs `future`, and catches its panics: those of its polls, which end it, and that of its drop.
pub(crate) fn contain<F: Future>(future: F) -> Contained<F> {
    Contained { future: Some(future) }
}

pin_project! {
    /// A future whose panics go no further; made by [`contain`].
    #[must_use = "a future does nothing unless it is awaited"]
    pub(crate) struct Contained<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Contained<F> {
        fn drop(this: Pin<&mut Self>) {
            this.discard();
        }
    }
}

impl<F> Contained<F> {
    /// Drops the future. The value then stays pending.
    pub(crate) fn discard(self: Pin<&mut Self>) {
        let mut future = self.project().future;
        if let Err(panic) = catch(|| future.set(None)) {
            note_drop_panic(&panic);
        }
    }
}

/// Throttle for the log lines of panics in destructors.
static DROP_PANICS: LogThrottle = LogThrottle::new();

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Pending };
        let outcome = match catch(|| future.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        self.discard();
        Poll::Ready(outcome)
    }
}

/// A value whose panic on drop goes no further.
pub(crate) struct ContainedDrop<T>(Option<T>);

impl<T> ContainedDrop<T> {
    /// Takes a value, or the last share of one.
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Drop for ContainedDrop<T> {
    fn drop(&mut self) {
        if let Err(panic) = catch(|| self.0 = None) {
            note_drop_panic(&panic);
        }
    }
}

/// Logs a panic of a destructor.
fn note_drop_panic(panic: &Panicked) {
    // A subscriber of the log may panic as well.
    drop(catch(|| {
        if let Some(count) = DROP_PANICS.note() {
            tracing::error!(%panic, count, "panics while values were dropped");
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::panic::panic_any;

    use futures_util::FutureExt;

    use super::*;

    /// Panics when it is dropped, with itself as the payload.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(Self);
        }
    }

    #[tokio::test]
    async fn panics_of_polls_drops_and_payloads_are_caught() {
        assert_eq!(contain(ready(5)).await.unwrap(), 5);
        let said = contain(async { panic!("said {}", 5) }).await;
        assert_eq!(said.map(|(): ()| ()).unwrap_err().message(), "said 5");
        let payload = contain(async { panic_any(Bomb) }).await;
        assert_eq!(payload.map(|(): ()| ()).unwrap_err().message(), "no message");
        let bomb = Bomb;
        let dropped = contain(async move {
            let _bomb = bomb;
            pending::<()>().await;
        });
        assert!(Box::pin(dropped).now_or_never().is_none());
        let bomb = std::mem::ManuallyDrop::new(Bomb);
        let unpolled = contain(async move {
            let _bomb = std::mem::ManuallyDrop::into_inner(bomb);
        });
        drop(unpolled);
    }

    #[test]
    fn panic_of_a_function_is_caught() {
        assert_eq!(catch(|| 5).unwrap(), 5);
        assert_eq!(catch(|| panic_any(Bomb)).map(|(): ()| ()).unwrap_err().message(), "no message");
    }
}
