//! Log line about a queue that exists with other options.

use std::sync::atomic::{AtomicBool, Ordering};

use lapin::types::ShortString;
use polywire_core::Error;

/// Log of a queue that is used although its options differ. All clones of a specification share
/// one.
///
/// The queue is declared again after each lost channel. The line is written once, until the options
/// have agreed.
#[derive(Debug, Default)]
pub(crate) struct DifferenceLog {
    is_logged: AtomicBool,
}

impl DifferenceLog {
    /// Logs that the options of the queue differ, as `error` says: a warning once.
    pub(super) fn differs(&self, queue: &ShortString, error: &Error) {
        if self.is_logged.swap(true, Ordering::Relaxed) {
            return tracing::debug!(?error, %queue, "the queue still has other options");
        }
        tracing::warn!(?error, %queue, "the queue has other options than asked for; using it as it is");
    }

    /// Notes that the options agree.
    pub(super) fn agrees(&self) {
        self.is_logged.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;

    use super::*;
    use crate::test_warning_counter::WarningCounter;

    #[test]
    fn difference_is_one_warning_until_the_options_agree() {
        let (warnings, _guard) = WarningCounter::begin();
        let (log, queue) = (DifferenceLog::default(), ShortString::from("suspects"));
        let error = Error::new(ErrorKind::Config, "a test");
        (0..3).for_each(|_| log.differs(&queue, &error));
        assert_eq!(warnings.take(), 1);
        log.agrees();
        log.differs(&queue, &error);
        assert_eq!(warnings.take(), 1);
    }
}
