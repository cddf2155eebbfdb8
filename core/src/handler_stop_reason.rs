//! The reason for which a handler is stopped, as the layers around it see it.

use std::cell::Cell;

/// Reason for which a handler is stopped before its end.
///
/// A stopped handler is dropped, with all layers around it. The code that drops it sets the reason
/// for that time, so that a guard in the future of a layer can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Its deadline has passed.
    DeadlineExceeded,
    /// Its caller has cancelled.
    Cancelled,
    /// Its server, worker or listener was stopped without waiting for it.
    Drained,
}

thread_local! {
    static CURRENT: Cell<Option<StopReason>> = const { Cell::new(None) };
}

impl StopReason {
    /// Runs `stop`, which drops handlers for this reason.
    pub(crate) fn during<T>(self, stop: impl FnOnce() -> T) -> T {
        let _restored = Restore(CURRENT.replace(Some(self)));
        stop()
    }

    /// Returns the reason for which a handler is dropped in this moment on this thread.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.get()
    }

    /// Returns the name of the reason, in metrics and spans.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Cancelled => "Cancelled",
            Self::Drained => "Drained",
        }
    }
}

/// The reason before, which is set again when the guard is dropped.
struct Restore(Option<StopReason>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}
