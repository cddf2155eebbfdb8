//! Timeouts whose timers start late.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio::task::coop::{has_budget_remaining, unconstrained};
use tokio::time::{Instant, sleep_until};

/// Waits for `future` until `deadline`. Returns `None` if the deadline passes first.
///
/// The timer starts when the future is not done at its first poll: most handlers are, and need no
/// timer. Dropping the returned future leaves `future` as it is.
pub(crate) async fn until<F: Future>(
    deadline: Instant,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let mut timer = None;
    poll_fn(|cx| {
        let had_budget = has_budget_remaining();
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        // Boxed so that the enclosing futures do not embed a timer that most of them never need.
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // A future that uses up the budget of its task must not keep the timer from ending it.
        let expired = match had_budget && !has_budget_remaining() {
            true => Pin::new(&mut unconstrained(timer.as_mut())).poll(cx),
            false => timer.as_mut().poll(cx),
        };
        expired.map(|()| None)
    })
    .await
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
