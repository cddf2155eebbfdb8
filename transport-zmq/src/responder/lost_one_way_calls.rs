//! The log line of one-way calls that no server here begins.

/// Logs one-way calls that are dropped, unless there are none. Their senders learn of nothing: a
/// message without a call id cannot be refused.
pub(super) fn log(count: u64) {
    if count > 0 {
        tracing::warn!(count, "dropped one-way calls: no server here begins them");
    }
}
