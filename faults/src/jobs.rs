//! A load of numbered jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_codec::MessagePack;
use polywire_conformance::OperationOutcome;
use polywire_core::{Pusher, Transport};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::recorder::{Recorder, kind_of};

/// The queue of the jobs.
pub(crate) const QUEUE: &str = "sums";

/// A load of jobs.
///
/// A job is its number. A push with an unknown outcome is repeated with the same number, so a job
/// may be done twice.
#[derive(Clone, Copy)]
pub(crate) struct Jobs {
    /// The number of jobs. `usize::MAX` stands for a load that the scenario stops.
    pub(crate) total: usize,
    /// Pushes in flight at any time.
    pub(crate) pushers: usize,
    /// Pause of each pusher between two jobs.
    pub(crate) pause: Duration,
}

impl Jobs {
    /// Pushes all jobs, or fewer if the recorder is stopped before. Repeats each push until the
    /// broker acknowledges the job.
    ///
    /// Dropping the future ends the pushers, and the pushes in flight have no recorded end.
    ///
    /// # Errors
    ///
    /// If the pusher cannot connect. A push that fails is repeated after 10 ms.
    pub(crate) async fn push(
        self,
        transport: &impl Transport,
        recorder: &Arc<Recorder>,
    ) -> Result<()> {
        let pusher = Pusher::connect(transport, QUEUE, MessagePack).await;
        let pusher = pusher.context("cannot connect a pusher")?;
        let begun = Arc::new(AtomicUsize::new(0));
        let mut pushers = JoinSet::new();
        for _ in 0..self.pushers {
            let (pusher, recorder, begun) = (pusher.clone(), recorder.clone(), begun.clone());
            pushers.spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < self.total && !recorder.is_stopped() {
                    push_until_acknowledged(&pusher, &recorder).await;
                    if !self.pause.is_zero() {
                        sleep(self.pause).await;
                    }
                }
            });
        }
        while let Some(pusher) = pushers.join_next().await {
            pusher?;
        }
        Ok(())
    }
}

/// Pushes one job until the broker acknowledges it, and records each failure by kind. Only the
/// bound of the scenario limits the attempts.
async fn push_until_acknowledged(pusher: &Pusher<MessagePack>, recorder: &Recorder) {
    let id = recorder.attempt();
    while let Err(error) = pusher.push(&id).await {
        recorder.failed(format!("pushed again after {}", kind_of(&error)));
        // A push that is refused at once must not become a busy loop.
        sleep(Duration::from_millis(10)).await;
    }
    recorder.end(id, OperationOutcome::Acknowledged);
}

#[cfg(test)]
mod tests {
    use polywire_core::Memory;

    use super::*;
    use crate::wait::until;

    #[tokio::test(start_paused = true)]
    async fn pushers_end_when_the_load_is_dropped() -> Result<()> {
        let (memory, recorder) = (Memory::new(), Arc::new(Recorder::default()));
        let load = Jobs { total: usize::MAX, pushers: 3, pause: Duration::from_millis(100) };
        tokio::select! {
            ended = load.push(&memory, &recorder) => ended?,
            begun = recorder.until_ended(10) => begun?,
        }
        until("the pushers have ended", || Arc::strong_count(&recorder) == 1).await
    }
}
