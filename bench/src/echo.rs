//! The caller of an echo service.

use anyhow::{Result, ensure};
use bytes::Bytes;

/// A caller of an echo service.
///
/// Clones share the connection, and each task of a load has one clone.
///
/// Calls of all clones may be in flight at once, and each gets the reply of its own request.
pub(crate) trait Echo: Clone + Send + Sync + 'static {
    /// Calls the service, and returns the body of the reply.
    ///
    /// An error fails the measurement.
    ///
    /// The call has no deadline here: a caller that never returns is bounded by its loop.
    fn echo(&self, body: Bytes) -> impl Future<Output = Result<Bytes>> + Send;
}

/// Returns the body of every call.
///
/// Clones of the body share its memory.
pub(crate) fn body(size: usize) -> Bytes {
    vec![7; size].into()
}

/// Calls once, and compares the reply.
///
/// Each subject pays for the comparison.
///
/// # Errors
///
/// If the call fails, or if the reply is not the body of the call.
pub(crate) async fn checked(echo: &impl Echo, body: &Bytes) -> Result<()> {
    let reply = echo.echo(body.clone()).await?;
    ensure!(reply == *body, "the reply is not the body of the call");
    Ok(())
}
