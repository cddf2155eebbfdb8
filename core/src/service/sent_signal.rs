//! The signal that a request was sent.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// A signal to the caller that the transport has its request.
///
/// Clones are the same signal. The first attempt that is sent raises the signal; later attempts
/// have no effect.
#[derive(Clone, Debug)]
pub(crate) struct SentSignal(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl SentSignal {
    /// Creates a signal that resolves the receiver of `sender`.
    pub(crate) fn new(sender: oneshot::Sender<()>) -> Self {
        Self(Arc::new(Mutex::new(Some(sender))))
    }

    /// Raises the signal, unless it was raised before.
    pub(crate) fn raise(&self) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The caller may have dropped the receiver.
            let _ = sender.send(());
        }
    }
}
