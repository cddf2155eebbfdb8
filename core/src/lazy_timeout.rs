//! Timeouts whose timers start late.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::coop::{has_budget_remaining, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for `future` until `deadline`, if there is one. Returns `None` if the deadline passes
/// first.
///
/// The timer starts when the future is not done at its first poll: most handlers are, and need no
/// timer.
pub(crate) fn until<F: Future>(deadline: impl Into<Option<Instant>>, future: F) -> Until<F> {
    Until { future, deadline: deadline.into(), timer: None }
}

pin_project! {
    /// A future with a timeout; made by [`until`].
    pub(crate) struct Until<F> {
        #[pin]
        future: F,
        deadline: Option<Instant>,
        // Boxed so that the enclosing futures do not embed a timer that most of them never need.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Until<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(deadline) = *this.deadline else { return this.future.poll(cx).map(Some) };
        let had_budget = has_budget_remaining();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // A future that uses up the budget of its task must not keep the timer from ending it.
        let expired = match had_budget && !has_budget_remaining() {
            true => Pin::new(&mut unconstrained(timer.as_mut())).poll(cx),
            false => timer.as_mut().poll(cx),
        };
        expired.map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn output_counts_also_after_the_deadline_if_it_is_there_at_once() {
        assert_eq!(until(Instant::now(), pin!(ready(5))).await, Some(5));
    }

    #[tokio::test(start_paused = true)]
    async fn future_that_waits_ends_at_the_deadline() {
        let start = Instant::now();
        let limit = Duration::from_secs(3);
        assert_eq!(until(start + limit, pin!(pending::<()>())).await, None);
        assert_eq!(start.elapsed(), limit);
    }

    #[tokio::test]
    async fn future_that_uses_up_the_budget_ends_at_the_deadline() {
        let (send, mut receive) = mpsc::unbounded_channel();
        let busy = async {
            loop {
                send.send(()).unwrap();
                receive.recv().await;
            }
        };
        let deadline = Instant::now() + Duration::from_millis(5);
        let busy: Option<()> = until(deadline, pin!(busy)).await;
        assert_eq!(busy, None);
    }
}
