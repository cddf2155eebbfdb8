//! A load of numbered calls with known results.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, Transport};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::recorder::Recorder;

/// The address of the service.
pub(crate) const SERVICE: &str = "adding";

/// A load of calls.
///
/// Each call adds a million to its own number. So the reply to another call is noticed as a wrong
/// result.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    /// The number of calls. `usize::MAX` stands for a load that the scenario stops.
    pub(crate) total: usize,
    /// Calls in flight at any time.
    pub(crate) callers: usize,
    /// The timeout of each call.
    pub(crate) timeout: Duration,
    /// Pause of each caller between two calls.
    pub(crate) pause: Duration,
}

/// Time after its deadline within which a call must end: generous, for a busy machine.
const GRACE: Duration = Duration::from_secs(20);

impl Calls {
    /// Makes all calls, or fewer if the recorder is stopped before, and records the end of each.
    ///
    /// A caller that fails ends the others. The report gets the number of late replies, and the
    /// latest end of a call after its deadline.
    ///
    /// Dropping the future ends the callers, and the calls in flight have no recorded end.
    ///
    /// # Errors
    ///
    /// If a call outlasts its deadline by more than [`GRACE`], or stays in flight.
    pub(crate) async fn run(
        self,
        transport: &impl Transport,
        recorder: &Arc<Recorder>,
    ) -> Result<()> {
        let client = Client::connect(transport, SERVICE, MessagePack).await;
        let client = client.context("cannot connect a client")?;
        let begun = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let (client, recorder, begun) = (client.clone(), recorder.clone(), begun.clone());
            callers.spawn(async move {
                let mut latest = Duration::ZERO;
                while begun.fetch_add(1, Ordering::Relaxed) < self.total && !recorder.is_stopped() {
                    latest = latest.max(self.run_one(&client, &recorder).await?);
                }
                anyhow::Ok(latest)
            });
        }
        let mut latest = Duration::ZERO;
        while let Some(caller) = callers.join_next().await {
            latest = latest.max(caller??);
        }
        let stats = client.stats();
        ensure!(
            stats.in_flight == 0,
            "{} calls are in flight after the last call has ended",
            stats.in_flight
        );
        recorder.figure("late replies", stats.late_replies);
        if !latest.is_zero() {
            let latest = format!("{:.1} s", latest.as_secs_f64());
            recorder.figure("latest end of a call after its deadline", latest);
        }
        Ok(())
    }

    /// Makes one call. Returns the time from its deadline to its end, zero if it ended before.
    ///
    /// The pause follows the call, and does not count.
    async fn run_one(self, client: &Client<MessagePack>, recorder: &Recorder) -> Result<Duration> {
        let start = Instant::now();
        // The recorder has the outcome.
        let _ = call(client, self.timeout, recorder).await;
        let took = start.elapsed();
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        ensure!(
            took < self.timeout + GRACE,
            "a call with a deadline of {:?} took {took:?}",
            self.timeout
        );
        Ok(took.saturating_sub(self.timeout))
    }
}

/// Makes one call, and records its end.
///
/// The number of the call goes along as an argument, so that the server can report it.
///
/// # Errors
///
/// The error of the call, which is recorded as well.
pub(crate) async fn call(
    client: &Client<MessagePack>,
    timeout: Duration,
    recorder: &Recorder,
) -> Result<i64, CallError> {
    let id = recorder.attempt();
    let (a, b) = (id.cast_signed(), 1_000_000);
    let outcome = client.request("add").timeout(timeout).call(&(id, a, b)).await;
    recorder.call(id, &outcome, &(a + b));
    outcome
}

#[cfg(test)]
mod tests {
    use polywire_core::{Memory, Router, Server};

    use super::*;
    use crate::wait::until;

    #[tokio::test(start_paused = true)]
    async fn callers_end_when_the_load_is_dropped() -> Result<()> {
        let memory = Memory::new();
        let server = Server::bind(&memory, SERVICE).await?;
        let add = |(_, a, b): (u64, i64, i64)| async move { Ok(a + b) };
        let mut serving = JoinSet::new();
        serving.spawn(server.serve(Router::new(MessagePack).method("add", add)));
        let recorder = Arc::new(Recorder::default());
        let pause = Duration::from_millis(100);
        let load = Calls { total: usize::MAX, callers: 3, timeout: GRACE, pause };
        tokio::select! {
            ended = load.run(&memory, &recorder) => ended?,
            begun = recorder.until_ended(10) => begun?,
        }
        until("the callers have ended", || Arc::strong_count(&recorder) == 1).await
    }
}
