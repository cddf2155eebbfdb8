//! A task that ends with its case.

use tokio::task::JoinHandle;

/// A task that is aborted when this handle is dropped, so that it ends with its case.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
