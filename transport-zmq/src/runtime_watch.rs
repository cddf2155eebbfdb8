//! The end of the tokio runtime that the sockets of a handle live in.

use std::future::pending;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// A watch over the runtime in which the value was created. A runtime that ends drops its tasks, so
/// a task that never ends by itself shows whether the runtime lives.
///
/// Without its runtime, an engine still accepts messages, and nothing sends them.
///
/// The value owns one idle task, which is aborted when the value is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeWatch(Option<AbortHandle>);

impl RuntimeWatch {
    /// Watches the current runtime. Without one, the watch never reports an end.
    pub(crate) fn start() -> Self {
        let runtime = Handle::try_current().ok();
        Self(runtime.map(|runtime| runtime.spawn(pending::<()>()).abort_handle()))
    }

    /// Returns whether the runtime has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(AbortHandle::is_finished)
    }
}

impl Drop for RuntimeWatch {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
