//! A load of numbered jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_conformance::OperationOutcome;
use polywire_core::Pusher;
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
    /// # Errors
    ///
    /// If the pusher cannot connect. A push that fails is repeated after 10 ms.
    pub(crate) async fn push(self, amqp: &Amqp, recorder: &Arc<Recorder>) -> Result<()> {
        let pusher =
            Pusher::connect(amqp, QUEUE, MessagePack).await.context("cannot connect a pusher")?;
        let begun = Arc::new(AtomicUsize::new(0));
        let pushers = (0..self.pushers).map(|_| {
            let (pusher, recorder, begun) = (pusher.clone(), recorder.clone(), begun.clone());
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < self.total && !recorder.is_stopped() {
                    push_until_acknowledged(&pusher, &recorder).await;
                    if !self.pause.is_zero() {
                        sleep(self.pause).await;
                    }
                }
            })
        });
        for pusher in join_all(pushers).await {
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
