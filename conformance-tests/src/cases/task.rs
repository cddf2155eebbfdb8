//! A task that ends with its case.

use tokio::task::{AbortHandle, JoinHandle};

/// A task that is aborted when this handle is dropped, so that it ends with its case.
///
/// Dropping does not wait for the end of the task.
pub(super) struct AbortOnDrop(AbortHandle);

impl AbortOnDrop {
    /// Takes over a task of any output.
    #[allow(clippy::needless_pass_by_value, reason = "the task belongs to this handle")]
    pub(super) fn new<T>(task: JoinHandle<T>) -> Self {
        Self(task.abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
