//! Functions that write the text of `/metrics`.

use std::sync::Arc;

/// Writer of the metrics. Clones are the same writer.
///
/// The text is written in the task of a connection, the upkeep runs in the task that accepts.
/// Neither function may block.
#[derive(Clone)]
pub(crate) struct Render {
    text: Arc<dyn Fn() -> String + Send + Sync>,
    /// Removes what has piled up since, if nothing reads the metrics.
    upkeep: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Render {
    /// Writes by a function of the program.
    pub(crate) fn new(text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { text: Arc::new(text), upkeep: None }
    }

    /// Adds a function that has to run every few seconds.
    #[cfg(feature = "prometheus")]
    pub(super) fn with_upkeep(self, upkeep: impl Fn() + Send + Sync + 'static) -> Self {
        Self { upkeep: Some(Arc::new(upkeep)), ..self }
    }

    /// Writes the metrics.
    pub(super) fn text(&self) -> String {
        (self.text)()
    }

    /// Runs the function for every few seconds, if there is one.
    pub(super) fn upkeep(&self) {
        if let Some(upkeep) = &self.upkeep {
            upkeep();
        }
    }
}
