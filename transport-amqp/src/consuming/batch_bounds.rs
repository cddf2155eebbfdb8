//! The bounds of a server on batches of calls.

use polywire_core::Window;

use crate::wire::native::ENTRIES_MAX;

/// The number of calls in a batch for a server, and of batches that the server holds: together at
/// most a window of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchBounds {
    /// The most calls of one batch.
    pub(crate) calls: usize,
    /// The prefetch of batches.
    pub(crate) batches: u16,
}

impl BatchBounds {
    /// Returns the bounds for a window; `None` for one below 16, whose calls come one by one.
    ///
    /// An eighth of the window, and no more than 64 calls, are one batch. At most 64 batches are
    /// held.
    pub(crate) fn of(window: Window) -> Option<Self> {
        let calls = (window.messages() / 8).min(ENTRIES_MAX);
        let batches = (window.messages() / calls.max(1)).min(BATCHES_MAX);
        let batches = u16::try_from(batches).unwrap_or(u16::MAX);
        (calls >= CALLS_LEAST).then_some(Self { calls, batches })
    }
}

/// A batch of fewer calls is none.
const CALLS_LEAST: usize = 2;
/// The most batches that a server holds.
const BATCHES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_at_most_a_window_of_calls() {
        for (window, bounds) in [
            (1, None),
            (15, None),
            (16, Some((2, 8))),
            (128, Some((16, 8))),
            (1024, Some((64, 16))),
            (65_535, Some((64, 64))),
        ] {
            let bounds = bounds.map(|(calls, batches)| BatchBounds { calls, batches });
            assert_eq!(BatchBounds::of(Window::new(window)), bounds, "{window}");
            let held = bounds.map_or(0, |bounds| bounds.calls * usize::from(bounds.batches));
            assert!(held <= window);
        }
    }
}
