//! The recovery of pipelines and of subscriptions after a disturbance.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Publisher, Puller, Pusher, Subscriber};

use crate::verdict::{Failure, Verdict, ensure};
use crate::wait::{PATIENCE, within};

/// The timeout of a push or a publish while the network is disturbed.
///
/// Shorter than the patience of a case, so that several tries fit.
pub(super) const BRIEF: Duration = Duration::from_secs(2);

/// Pushes jobs of this round until one arrives, for up to [`PATIENCE`].
///
/// A job is pushed every 20 ms. Jobs of earlier rounds are acknowledged and otherwise ignored.
///
/// # Errors
///
/// [`Failure::Failed`], if none arrives in that time, or the puller ends.
pub(super) async fn jobs_flow_again(
    pusher: &Pusher<MessagePack>,
    jobs: &mut Puller<u32>,
    round: u32,
) -> Verdict {
    let pushing = async {
        loop {
            // A push may fail while the link is away. Only the arrival counts.
            let _ = pusher.push(&round).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let pulling = async {
        loop {
            match jobs.next().await {
                None => return Err(Failure::new("a puller ended, though its transport is open")),
                Some(Ok(job)) => {
                    let done = *job == round;
                    job.ack();
                    if done {
                        return Ok(());
                    }
                }
                Some(Err(_)) => {}
            }
        }
    };
    tokio::select! {
        () = pushing => Ok(()),
        pulled = within(PATIENCE, "after the disturbance, a job arrives", pulling) => pulled?,
    }
}

/// Publishes events of this round to a subscriber of `b.*` until one arrives, for up to
/// [`PATIENCE`]. An event with another topic fails the case.
///
/// Two events are published every 20 ms, under `a.x` and under `b.x`. Events of earlier rounds are
/// ignored.
///
/// # Errors
///
/// [`Failure::Failed`], if none arrives in that time, or the subscriber
/// ends.
pub(super) async fn events_flow_again(
    publisher: &Publisher<MessagePack>,
    events: &mut Subscriber<u32>,
    round: u32,
) -> Verdict {
    let publishing = async {
        loop {
            // Publishing may fail while the link is away. Only the arrival counts.
            let _ = publisher.publish("a.x", &round).await;
            let _ = publisher.publish("b.x", &round).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let receiving = async {
        loop {
            match events.next().await {
                None => {
                    return Err(Failure::new("a subscriber ended, though its transport is open"));
                }
                Some(Ok(event)) => {
                    ensure!(
                        event.topic().as_str() == "b.x",
                        "a subscriber to b.* got {}",
                        event.topic()
                    );
                    if *event == round {
                        return Ok(());
                    }
                }
                // The subscriber reports that events may be missing.
                Some(Err(_)) => {}
            }
        }
    };
    tokio::select! {
        () = publishing => Ok(()),
        received = within(PATIENCE, "after the disturbance, an event arrives", receiving) => received?,
    }
}
