//! State of a connection, and the tasks that wait for a change of it.

use futures_core::future::BoxFuture;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// State of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LinkPhase {
    /// The first connection is not there yet.
    Connecting,
    /// Messages can be sent and received.
    Ready,
    /// The connection was lost, with this error, and is being replaced.
    Lost(Error),
    /// The program closes the connection. No other state follows.
    Closing,
}

impl LinkPhase {
    fn is_closing(&self) -> bool {
        matches!(self, Self::Closing)
    }
}

/// State of a connection, as its supervisor sets it. Clones set the same state.
///
/// [`watch`](Self::watch) returns the other side, for the tasks that wait. Once closed, a monitor
/// stays closed, also if a connection comes up at the same moment.
///
/// ```
/// use polywire_core::transport::kit::LinkMonitor;
/// use polywire_core::{Error, ErrorKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let monitor = LinkMonitor::new();
/// let mut watch = monitor.watch();
/// monitor.set_ready();
/// watch.ready().await?;
/// monitor.set_lost(Error::new(ErrorKind::Disconnected, "cannot read: connection reset"));
/// monitor.close();
/// assert_eq!(watch.ready().await.unwrap_err().kind(), ErrorKind::Closed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LinkMonitor {
    phase: watch::Sender<LinkPhase>,
    /// Counts the tasks that have a [`LinkWatch`].
    tasks: watch::Sender<()>,
}

impl LinkMonitor {
    /// Creates the monitor of a connection that is not there yet.
    #[must_use]
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(LinkPhase::Connecting), tasks: watch::Sender::new(()) }
    }

    /// Returns the present state.
    #[must_use]
    pub fn phase(&self) -> LinkPhase {
        self.phase.borrow().clone()
    }

    /// Returns whether the connection is being closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.phase.borrow().is_closing()
    }

    /// Sets the state to [`LinkPhase::Ready`], unless the connection is being closed.
    pub fn set_ready(&self) {
        self.set(LinkPhase::Ready);
    }

    /// Sets the state to [`LinkPhase::Lost`], unless the connection is being closed. Called again
    /// for each failed attempt to connect, it replaces the error.
    pub fn set_lost(&self, error: Error) {
        self.set(LinkPhase::Lost(error));
    }

    /// Sets the state to [`LinkPhase::Closing`], and wakes all tasks that wait. A second call has
    /// no effect.
    pub fn close(&self) {
        self.set(LinkPhase::Closing);
    }

    /// Returns the side of a task that waits for changes.
    #[must_use]
    pub fn watch(&self) -> LinkWatch {
        LinkWatch { phase: self.phase.subscribe(), _task: self.tasks.subscribe() }
    }

    /// Waits until each [`LinkWatch`] is dropped: until all tasks of the connection have ended, if
    /// each of them holds one.
    ///
    /// A close waits so for the last bytes to be written. The caller bounds the wait, since a peer
    /// may not read. If the future is dropped, nothing changes.
    pub async fn unwatched(&self) {
        self.tasks.closed().await;
    }

    /// Returns a future that resolves when the connection is being closed, and that does not count
    /// as a task.
    pub(super) fn when_closing(&self) -> BoxFuture<'static, ()> {
        let mut phase = self.phase.subscribe();
        Box::pin(async move { closing(&mut phase).await })
    }

    fn set(&self, next: LinkPhase) {
        self.phase.send_if_modified(|phase| {
            let may_change = !phase.is_closing();
            if may_change {
                *phase = next;
            }
            may_change
        });
    }
}

impl Default for LinkMonitor {
    fn default() -> Self {
        Self::new()
    }
}

/// State of a connection, as a task waits for it; see [`LinkMonitor`].
#[derive(Clone, Debug)]
pub struct LinkWatch {
    phase: watch::Receiver<LinkPhase>,
    _task: watch::Receiver<()>,
}

impl LinkWatch {
    /// Returns the present state.
    #[must_use]
    pub fn phase(&self) -> LinkPhase {
        self.phase.borrow().clone()
    }

    /// Waits until messages can be sent and received.
    ///
    /// A lost connection may take long to come back, so the caller bounds the wait. If the future
    /// is dropped, nothing changes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`], unsent, if the connection is being closed, or if its monitor is
    /// dropped before the connection is ready. If it was ready at the drop, there is no error.
    pub async fn ready(&mut self) -> Result<()> {
        let settled = |phase: &LinkPhase| matches!(phase, LinkPhase::Ready | LinkPhase::Closing);
        let is_ready = self.phase.wait_for(settled).await.is_ok_and(|phase| !phase.is_closing());
        if is_ready {
            return Ok(());
        }
        let text = "cannot use the transport: it is closed";
        Err(Error::new(ErrorKind::Closed, text).unsent())
    }

    /// Waits until the connection is being closed.
    ///
    /// If the monitor is dropped before, the wait has no end: the tasks of a dropped handle still
    /// write what was queued, and end by themselves.
    ///
    /// If the future is dropped, nothing changes.
    pub async fn closing(&mut self) {
        closing(&mut self.phase).await;
    }
}

async fn closing(phase: &mut watch::Receiver<LinkPhase>) {
    if phase.wait_for(LinkPhase::is_closing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lost() -> Error {
        Error::new(ErrorKind::Disconnected, "cannot read: connection reset")
    }

    #[tokio::test]
    async fn waiter_goes_on_with_the_next_connection() {
        let monitor = LinkMonitor::new();
        let mut watch = monitor.watch();
        assert_eq!(watch.ready().now_or_never().map(|ready| ready.is_ok()), None);
        monitor.set_ready();
        watch.ready().await.unwrap();
        monitor.set_lost(lost());
        assert!(matches!(watch.phase(), LinkPhase::Lost(_)));
        let waiting = tokio::spawn(async move { watch.ready().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        monitor.set_ready();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn closed_monitor_stays_closed_and_wakes_all() {
        let monitor = LinkMonitor::new();
        let (mut first, mut second) = (monitor.watch(), monitor.watch());
        let ready = tokio::spawn(async move { first.ready().await });
        let closing = tokio::spawn(async move { second.closing().await });
        tokio::task::yield_now().await;
        monitor.close();
        monitor.set_ready();
        monitor.set_lost(lost());
        assert!(monitor.is_closing());
        let error = ready.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Closed, true));
        closing.await.unwrap();
        monitor.unwatched().await;
    }

    #[tokio::test]
    async fn dropped_monitor_ends_no_task_and_no_wait_for_it_succeeds() {
        let monitor = LinkMonitor::new();
        let mut watch = monitor.watch();
        assert!(monitor.unwatched().now_or_never().is_none());
        monitor.set_lost(lost());
        drop(monitor);
        assert!(watch.closing().now_or_never().is_none());
        assert_eq!(watch.ready().await.unwrap_err().kind(), ErrorKind::Closed);
    }
}
