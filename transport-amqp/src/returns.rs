//! What becomes of deliveries that are given back, or buried: a copy goes where it belongs,
//! confirmed, and only then the original is acknowledged.

mod declining;

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::message::DeadLetterReason;
use polywire_core::transport::{DeadLetterInfo, Outcome, Settle};
use polywire_core::{Error, ErrorKind, Result};
use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

use crate::backoff::{PAUSE_MAX, pause};
use crate::consumer::{GivingBack, Taken};
use crate::seat::Seat;
use crate::topology::{EXPIRES_AFTER, Queue};
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{Again, Native, Wire};

/// What the deliveries of a queue need to be given back.
pub(crate) struct Returns {
    transport: Arc<Inner>,
    seat: Arc<Seat>,
    queue: Queue,
    giving_back: GivingBack,
    /// The name of this end among those that decline.
    name: String,
    /// Receipts may be settled outside of a runtime.
    runtime: Handle,
}

/// Where a copy goes.
#[derive(Clone, Copy)]
enum Place {
    /// Behind what waits in its queue.
    Again,
    /// Where it waits for so long before it comes to its queue.
    After(Duration),
    /// Among the dead letters.
    Dead,
}

impl Returns {
    /// For what comes from `queue`. It has to be made within a runtime.
    pub(crate) fn new(
        transport: Arc<Inner>,
        seat: Arc<Seat>,
        queue: Queue,
        giving_back: GivingBack,
    ) -> Arc<Self> {
        let name = format!("{:x}", unique() >> 64);
        Arc::new(Self { transport, seat, queue, giving_back, name, runtime: Handle::current() })
    }

    /// The ear for the outcome of one delivery.
    pub(crate) fn of(self: &Arc<Self>, delivery: Again) -> Arc<Returning> {
        Arc::new(Returning { returns: self.clone(), delivery })
    }

    /// Keeps what cannot be read.
    pub(crate) fn bury_unreadable(self: &Arc<Self>, tag: u64, delivery: Again, error: &Error) {
        let burial = DeadLetterInfo::new(DeadLetterReason::Unreadable, error.to_string());
        self.of(delivery).settle(tag, Outcome::DeadLetter(Box::new(burial)));
    }

    /// Writes down that what came again, because a process or a connection ended, came again: a
    /// classic queue would say the same the next time, however often that is. What is written
    /// down comes later, behind what waits; if it cannot be, it goes on as it is.
    pub(crate) fn write_down(self: &Arc<Self>, mut taken: Taken, put: mpsc::Sender<Result<Taken>>) {
        let Some(delivery) = taken.again() else { return };
        let (returns, tag) = (self.clone(), taken.tag);
        // It ends with the confirm, or when that is given up.
        self.spawn(async move {
            match returns.copy(Place::Again, delivery).await {
                Ok(()) => returns.seat.settle(tag, Outcome::Ack),
                Err(error) => {
                    tracing::debug!(?error, queue = %returns.queue.name, "came again, uncounted");
                    if put.send(Ok(taken)).await.is_err() {
                        returns.seat.settle(tag, Outcome::Requeue);
                    }
                }
            }
        });
    }

    /// Runs what ends with acknowledging or requeuing a delivery. It is bounded by the window,
    /// since none of these is settled before.
    fn spawn(&self, giving_back: impl Future<Output = ()> + Send + 'static) {
        let copying = self.transport.copies.begin();
        drop(self.runtime.spawn(async move {
            let _copying = copying;
            giving_back.await;
        }));
    }

    /// If the copy cannot be published, the broker gives the original to somebody. If it is not
    /// known whether it was, there are two: better than none.
    async fn send(self: Arc<Self>, place: Place, delivery: Again, tag: u64) {
        let Err(error) = self.copy(place, delivery).await else {
            return self.seat.settle(tag, Outcome::Ack);
        };
        match place {
            Place::Again => {
                tracing::debug!(?error, queue = %self.queue.name, "given back without its count")
            }
            _ => {
                tracing::error!(?error, queue = %self.queue.name, "cannot put it where it belongs; it is tried again");
                // Or it would go round and round.
                pause(PAUSE_MAX).await;
            }
        }
        self.seat.settle(tag, Outcome::Requeue);
    }

    async fn copy(&self, place: Place, delivery: Again) -> Result<()> {
        match place {
            Place::Again => self.publish(&self.queue.name, delivery).await,
            Place::After(pause) => {
                let queue = self.queue.waiting(pause)?;
                self.publish_into(&queue, delivery.for_ever()).await
            }
            Place::Dead => {
                let queue = self.queue.dead()?;
                self.publish_into(&queue, delivery.for_ever()).await
            }
        }
    }

    /// Into a queue that has to be made, unless it was a moment ago.
    async fn publish_into(&self, queue: &Queue, delivery: Again) -> Result<()> {
        let transport = &*self.transport;
        transport.in_connect_time(transport.made.see_to(transport, queue)).await?;
        match self.publish(&queue.name, delivery.clone()).await {
            Err(error) if error.kind() == ErrorKind::Unroutable => {
                transport.made.forget(queue).await;
                transport.in_connect_time(transport.made.see_to(transport, queue)).await?;
                self.publish(&queue.name, delivery).await
            }
            outcome => outcome,
        }
    }

    async fn publish(&self, queue: &ShortString, delivery: Again) -> Result<()> {
        // Where it waits, it is as the broker moves it that it may be too late.
        let deadline = delivery.deadline.filter(|_| !delivery.for_ever);
        let copy = Native.encode_again(queue, &self.queue.name, delivery)?;
        self.transport.lines.publish(copy, deadline).await
    }
}

/// One delivery that may have to be given back.
pub(crate) struct Returning {
    returns: Arc<Returns>,
    delivery: Again,
}

impl Returning {
    /// Where a copy goes, and what it says; `None` if the broker can do it by itself.
    fn copy(&self, outcome: Outcome) -> Option<(Place, Again)> {
        let mut delivery = self.delivery.clone();
        let history = &mut delivery.history;
        let place = match outcome {
            Outcome::Retry(retry) => {
                history.get_or_insert_default().failed(&retry.error);
                bucket(retry.after).map_or(Place::Again, Place::After)
            }
            Outcome::DeadLetter(burial) => {
                history.get_or_insert_default().died(
                    burial.reason,
                    delivery.attempt,
                    &burial.error,
                );
                return Some((Place::Dead, delivery));
            }
            _ if self.returns.giving_back != GivingBack::Counted => return None,
            _ => Place::Again,
        };
        delivery.attempt = delivery.attempt.saturating_add(1);
        Some((place, delivery))
    }
}

impl Settle for Returning {
    fn settle(&self, tag: u64, outcome: Outcome) {
        let Returns { seat, queue, .. } = &*self.returns;
        match outcome {
            // What is refused would go among the dead letters.
            Outcome::Discard if queue.options.buries() => seat.settle(tag, Outcome::Ack),
            Outcome::Ack | Outcome::Discard => seat.settle(tag, outcome),
            // The broker delivers it again by itself.
            _ if !seat.can_settle(tag) => {}
            Outcome::Decline(fault) if !self.returns.transport.is_closed() => {
                self.returns.decline(tag, self.delivery.clone(), *fault);
            }
            // There is no time left for a copy.
            _ if self.returns.transport.is_closed() => seat.settle(tag, Outcome::Requeue),
            outcome => match self.copy(outcome) {
                None => seat.settle(tag, Outcome::Requeue),
                // It ends with the confirm, or when that is given up.
                Some((place, delivery)) => {
                    self.returns.spawn(self.returns.clone().send(place, delivery, tag));
                }
            },
        }
    }
}

/// A pause as it is measured: each length is a queue of its own, so that there are four of them
/// from one to its double. What is shorter than a queue is worth is none.
fn bucket(pause: Duration) -> Option<Duration> {
    let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    if ms < PAUSE_LEAST_MS {
        return None;
    }
    let step = (1 << ms.ilog2()) / 4;
    Some(Duration::from_millis(ms.div_ceil(step).saturating_mul(step)))
}

const PAUSE_LEAST_MS: u64 = 10;

/// How many copies are on their way whose originals are not acknowledged yet.
#[derive(Clone, Default)]
pub(crate) struct Copies(Arc<watch::Sender<usize>>);

impl Copies {
    fn begin(&self) -> Copying {
        self.0.send_modify(|copies| *copies += 1);
        Copying(self.0.clone())
    }

    /// Waits until there are none.
    pub(crate) async fn are_done(&self) {
        // The other side is in here.
        let _ = self.0.subscribe().wait_for(|copies| *copies == 0).await;
    }
}

/// One of them.
struct Copying(Arc<watch::Sender<usize>>);

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.send_modify(|copies| *copies -= 1);
    }
}

/// The queues that were made for what waits and what is dead, and when: the broker counts only that
/// as use of them.
#[derive(Default)]
pub(crate) struct Made(Mutex<FxHashMap<ShortString, Instant>>);

impl Made {
    /// Makes a queue, unless it was made a moment ago. Held meanwhile, so that many who want it
    /// make it once.
    async fn see_to(&self, transport: &Inner, queue: &Queue) -> Result<()> {
        let mut made = self.0.lock().await;
        made.retain(|_, at| at.elapsed() < MADE_AGAIN_AFTER);
        if made.contains_key(&queue.name) {
            return Ok(());
        }
        // The broker does not block this connection, whatever it is out of.
        queue.declare(&transport.consuming.channel().await?).await?;
        made.insert(queue.name.clone(), Instant::now());
        Ok(())
    }

    async fn forget(&self, queue: &Queue) {
        self.0.lock().await.remove(&queue.name);
    }
}

/// Much sooner than it expires.
const MADE_AGAIN_AFTER: Duration = Duration::from_secs(EXPIRES_AFTER.as_secs() / 5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_measured_a_quarter_too_long_at_most() {
        assert_eq!(bucket(Duration::from_millis(9)), None);
        for ms in [10, 11, 100, 128, 1000, 1024, 1025, 16_000, 604_800_000] {
            let bucket = bucket(Duration::from_millis(ms)).unwrap().as_millis();
            let ms = u128::from(ms);
            assert!(bucket >= ms && bucket * 4 <= ms * 5 + 4, "{ms}: {bucket}");
        }
        let different: std::collections::BTreeSet<_> =
            (1_000..=2_000).map(|ms| bucket(Duration::from_millis(ms))).collect();
        assert!(different.len() <= 6, "{different:?}");
    }
}
