//! Isolation of a delivery that seems to end the processes that handle it.

use std::future::pending;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::transport::Delivery;

/// A delivery that runs while nothing else does, as far as that takes little time.
///
/// The delivery waits until all running handlers have ended, and no other begins before it has
/// ended. Each of both waits is limited: a handler may run for hours, and that of a call may wait
/// for another call of the same queue.
#[derive(Default)]
pub(super) enum Isolation {
    /// No delivery is isolated.
    #[default]
    None,
    /// The delivery waits for the running handlers until this time.
    Waiting(Box<Delivery>, Instant),
    /// The delivery runs, and all others wait for it until this time.
    Running(AbortHandle, Instant),
}

impl Isolation {
    /// Returns whether a delivery has to be isolated. Those that have ended no receiver alone need
    /// not be, since most of them only stood beside the cause.
    pub(super) fn is_needed(delivery: &Delivery) -> bool {
        delivery.suspect.is_some_and(|suspect| suspect.is_isolated && suspect.crashes > 0)
    }

    /// Keeps a delivery until it can begin.
    pub(super) fn wait(&mut self, delivery: Delivery) {
        let limit = wait_max(&delivery);
        *self = Self::Waiting(Box::new(delivery), Instant::now() + limit);
    }

    /// Takes the delivery out once it can begin, with the time for which it may run alone. Ends the
    /// isolation of one that has ended, or whose time has passed.
    pub(super) fn take_ready(&mut self, is_idle: bool) -> Option<(Delivery, Duration)> {
        let is_done = match &*self {
            Self::None => return None,
            Self::Waiting(_, until) => is_idle || Instant::now() >= *until,
            Self::Running(task, until) => task.is_finished() || Instant::now() >= *until,
        };
        match is_done.then(|| std::mem::take(self)) {
            Some(Self::Waiting(delivery, _)) => {
                let limit = wait_max(&delivery);
                Some((*delivery, limit))
            }
            _ => None,
        }
    }

    /// Notes the task of the delivery that was taken out, and the time for which it may run alone.
    pub(super) fn begin(&mut self, task: AbortHandle, limit: Duration) {
        *self = Self::Running(task, Instant::now() + limit);
    }

    /// Returns whether the delivery waits for the running handlers.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(..))
    }

    /// Returns whether other deliveries have to wait.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Waits for the limit of the present wait.
    pub(super) async fn time_out(&self) {
        match self {
            Self::None => pending().await,
            Self::Waiting(_, until) | Self::Running(_, until) => sleep_until(*until).await,
        }
    }
}

/// Returns the longest wait for the handlers beside a delivery, and of these for the delivery.
fn wait_max(delivery: &Delivery) -> Duration {
    if delivery.message.reply_to.is_some() { CALL_WAIT_MAX } else { WAIT_MAX }
}

/// Wait for a job, an event or a one-way call. Slow handlers are done by then; those that are not
/// must not keep the window idle for hours.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Wait for a call. Its handler may call the same server, and all other callers wait meanwhile. A
/// handler that ends its process mostly does so sooner.
const CALL_WAIT_MAX: Duration = Duration::from_secs(1);
