//! Log lines of a consumer that the broker refuses: one for each state.

use lapin::types::ShortString;
use polywire_core::Error;

/// Remembers whether the refusal of a consumer was logged.
#[derive(Default)]
pub(super) struct ConsumeLog {
    is_refused: bool,
}

impl ConsumeLog {
    /// Logs the first failure since the consumer was registered as an error, further ones as debug.
    pub(super) fn refused(&mut self, queue: &ShortString, error: &Error) {
        match std::mem::replace(&mut self.is_refused, true) {
            true => tracing::debug!(%queue, ?error, "still cannot consume"),
            false => tracing::error!(%queue, ?error, "cannot consume; retrying"),
        }
    }

    /// Logs the end of a refusal.
    pub(super) fn registered(&mut self, queue: &ShortString) {
        if std::mem::take(&mut self.is_refused) {
            tracing::info!(%queue, "consuming again");
        }
    }
}
