//! The retry queues to which a transport has sent deliveries.

use std::sync::Mutex;
use std::time::Duration;

use lapin::types::ShortString;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::lock::lock;
use crate::topology::queue_spec::QueueSpec;

/// The retry queues by their origins, so that the deliveries in them can be counted: a broker
/// cannot be asked for its queues over AMQP.
///
/// The rounding of delays leaves four queues between a delay and its double, for each origin.
/// Beyond [`ORIGINS_MAX`] origins, those are forgotten whose deliveries of this transport have
/// left.
#[derive(Default)]
pub(crate) struct UsedRetryQueues(Mutex<FxHashMap<ShortString, Vec<UsedRetryQueue>>>);

struct UsedRetryQueue {
    queue: QueueSpec,
    /// The last time at which a delivery was about to be sent there, and its delay.
    last_used: Instant,
    delay: Duration,
}

impl UsedRetryQueues {
    /// Notes that a delivery from `origin` is about to be sent to `queue`.
    pub(crate) fn note(&self, origin: &ShortString, queue: &QueueSpec, delay: Duration) {
        let mut used = lock(&self.0);
        if used.len() >= ORIGINS_MAX && !used.contains_key(origin) {
            used.retain(|_, queues| {
                queues.retain(|used| used.last_used.elapsed() <= used.delay);
                !queues.is_empty()
            });
        }
        let queues = used.entry(origin.clone()).or_default();
        let last_used = Instant::now();
        match queues.iter_mut().find(|used| used.queue.name == queue.name) {
            Some(used) => used.last_used = last_used,
            None => queues.push(UsedRetryQueue { queue: queue.clone(), last_used, delay }),
        }
    }

    /// Returns the retry queues of `origin`.
    pub(crate) fn of(&self, origin: &ShortString) -> Vec<QueueSpec> {
        let used = lock(&self.0);
        let queues = used.get(origin).into_iter().flatten();
        queues.map(|used| used.queue.clone()).collect()
    }

    /// Forgets an empty or missing retry queue, unless a delivery of this transport may still be on
    /// its way to it. A count counts as a use of the queue, so the broker could not delete it.
    pub(crate) fn forget_idle(&self, origin: &ShortString, queue: &ShortString) {
        let mut used = lock(&self.0);
        let Some(queues) = used.get_mut(origin) else { return };
        queues.retain(|used| used.queue.name != *queue || used.last_used.elapsed() <= used.delay);
        if queues.is_empty() {
            used.remove(origin);
        }
    }
}

/// Origins that are kept although none of their deliveries waits.
const ORIGINS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::queue_options::QueueOptions;

    #[tokio::test(start_paused = true)]
    async fn empty_retry_queue_is_forgotten_after_its_delay_only() {
        let used = UsedRetryQueues::default();
        let delay = Duration::from_secs(4);
        let origin = QueueSpec::new("polywire.jobs.a".into(), QueueOptions::new());
        let retry = origin.retry_queue(delay, Duration::from_secs(60)).unwrap();
        let names = || -> Vec<_> {
            used.of(&origin.name).into_iter().map(|queue| queue.name.to_string()).collect()
        };
        used.note(&origin.name, &retry, delay);
        tokio::time::advance(Duration::from_secs(3)).await;
        used.note(&origin.name, &retry, delay);
        tokio::time::advance(Duration::from_secs(3)).await;
        used.forget_idle(&origin.name, &retry.name);
        assert_eq!(names(), ["polywire.retry.jobs.a..4000"]);
        assert!(used.of(&"polywire.jobs.b".into()).is_empty());
        tokio::time::advance(Duration::from_secs(2)).await;
        used.forget_idle(&origin.name, &retry.name);
        assert!(names().is_empty());
    }
}
