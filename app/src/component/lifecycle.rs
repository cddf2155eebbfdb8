//! The lifecycle of a component: starting, serving, stopping, ended.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::exit::Exit;

/// The phase of a component. Only this file changes it.
///
/// A phase is never entered twice, and the order never turns back: starting, serving, stopping,
/// ended. A component may stop while it starts. Waits see each change, since they subscribe before
/// they look.
pub(crate) struct ComponentLifecycle {
    phase: watch::Sender<Phase>,
    /// Set when the drain shall not wait any longer.
    is_hurried: watch::Sender<bool>,
}

/// A phase in the life of a component.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// The setup runs.
    Starting,
    /// The setup has ended.
    Serving,
    /// The endpoints drain.
    Stopping(Stop),
    /// Nothing runs any more.
    Ended(Exit),
}

/// A request to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// The moment from which the grace period counts.
    pub(crate) since: Instant,
    /// The failure that ends the component; `None` if a signal or the program asked for it.
    pub(crate) cause: Option<Exit>,
}

impl ComponentLifecycle {
    /// Creates the lifecycle of a component that starts.
    pub(crate) fn new() -> Self {
        let (phase, is_hurried) = (watch::Sender::new(Phase::Starting), watch::Sender::new(false));
        Self { phase, is_hurried }
    }

    /// Returns the current phase.
    pub(crate) fn current(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// Returns whether endpoints may still be added.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Starting | Phase::Serving)
    }

    /// Returns whether nothing runs any more.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Ended(_))
    }

    /// Notes the end of the setup, unless a stop was requested meanwhile.
    pub(crate) fn set_serving(&self) {
        self.advance(Phase::Serving, |phase| matches!(phase, Phase::Starting));
    }

    /// Requests the end. The first request decides.
    ///
    /// In a component that stops or has ended, nothing happens, and `cause` is dropped.
    pub(crate) fn request_stop(&self, cause: Option<Exit>) {
        let stop = Phase::Stopping(Stop { since: Instant::now(), cause });
        self.advance(stop, |phase| matches!(phase, Phase::Starting | Phase::Serving));
    }

    /// Ends the wait for running handlers.
    ///
    /// Has no effect before the drain begins, and then ends the drain at once.
    pub(crate) fn hurry(&self) {
        self.is_hurried.send_replace(true);
    }

    /// Waits for [`hurry`](Self::hurry).
    pub(crate) async fn hurried(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.is_hurried.subscribe().wait_for(|hurried| *hurried).await;
    }

    /// Notes that nothing runs any more.
    pub(crate) fn set_ended(&self, exit: Exit) {
        self.advance(Phase::Ended(exit), |phase| !matches!(phase, Phase::Ended(_)));
    }

    /// Waits for a request to stop.
    ///
    /// Resolves at once in a component that stops. After the end, returns a stop without a cause.
    /// If the future is dropped, nothing is lost.
    pub(crate) async fn stop_requested(&self) -> Stop {
        let mut phases = self.phase.subscribe();
        loop {
            match &*phases.borrow_and_update() {
                Phase::Stopping(stop) => return stop.clone(),
                Phase::Ended(_) => return Stop { since: Instant::now(), cause: None },
                Phase::Starting | Phase::Serving => {}
            }
            // The sender lives in `self`, so waiting cannot fail.
            let _ = phases.changed().await;
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> Exit {
        let mut phases = self.phase.subscribe();
        loop {
            if let Phase::Ended(exit) = &*phases.borrow_and_update() {
                return exit.clone();
            }
            let _ = phases.changed().await;
        }
    }

    /// Enters `next` if `from` holds for the current phase, as one step. Wakes waiting tasks only
    /// then.
    fn advance(&self, next: Phase, from: impl Fn(&Phase) -> bool) {
        self.phase.send_if_modified(|phase| {
            let may = from(phase);
            if may {
                *phase = next;
            }
            may
        });
    }
}
