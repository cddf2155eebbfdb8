//! The tasks of a running proxy, and how they end.
//!
//! Each pattern spawns its tasks and returns them as [`ProxyTasks`], together with a future that
//! ends them in order: stop receiving, wait for the messages received before, close the sockets.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::future::BoxFuture;
use polywire_core::Limits;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::stats::Counters;
use crate::endpoint::EndpointSet;
use crate::lock::lock;
use crate::wire::Frames;

/// The tasks of a running proxy. Dropping the value aborts them.
pub(super) struct ProxyTasks {
    /// The frontend endpoint, with its real port.
    pub(super) frontend: String,
    /// The backend endpoint, with its real port.
    pub(super) backend: String,
    /// The counters that the tasks update.
    pub(super) counters: Arc<Counters>,
    /// The tasks that pass messages on.
    pub(super) tasks: Vec<JoinHandle<()>>,
    /// Stops receiving. Resolves when the messages received before are passed on, or the grace
    /// period ends, and the sockets are closed.
    pub(super) finish: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl ProxyTasks {
    /// Stops receiving, passes on the messages received before, and closes the sockets.
    ///
    /// Resolves after the grace period and the linger time at the latest. Dropping the future
    /// aborts the tasks.
    pub(super) async fn finish(self) {
        let finish = lock(&self.finish).take();
        if let Some(finish) = finish {
            finish.await;
        }
    }
}

impl fmt::Debug for ProxyTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyTasks")
            .field("frontend", &self.frontend)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl Drop for ProxyTasks {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Waits until a condition holds, but at most for the grace period of a stopping proxy: 1 second.
///
/// The condition is checked every 5 ms, and at once.
pub(super) async fn wait_until(is_met: impl Fn() -> bool) {
    let waiting = async {
        while !is_met() {
            sleep(POLL).await;
        }
    };
    // Messages that are not passed on by then are dropped with the sockets.
    let _ = timeout(GRACE, waiting).await;
}

/// The time for the messages that a stopping proxy has received.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which the condition is checked.
const POLL: Duration = Duration::from_millis(5);

/// Returns the real endpoint of a socket that binds, or the endpoint that the socket connects to.
pub(super) fn endpoint_name(endpoints: &EndpointSet, bound: Vec<String>) -> String {
    bound.into_iter().next().unwrap_or_else(|| endpoints.names())
}

/// Returns whether a message has more frames than allowed. The engine has read only some of them.
pub(super) fn has_too_many_frames(frames: &Frames) -> bool {
    frames.body.as_ref().is_some_and(|body| body.frames().len() > Limits::default().frames_max)
}
