//! Fixed header on every request.

use bytestring::ByteString;

use super::Middleware;
use crate::error::{CallError, Result};
use crate::service::{Reply, Request, Service};

/// Middleware that sets a header, such as a token or a tenant, on every request without that
/// header.
///
/// Place it on a client, at any position in front of a middleware that reads the header.
///
/// ```
/// use polywire_core::middleware::SetHeader;
///
/// let token = SetHeader::new("authorization", "s3cret");
/// # let _ = token;
/// ```
#[derive(Clone)]
pub struct SetHeader {
    name: ByteString,
    value: ByteString,
}

impl SetHeader {
    /// Creates a middleware that sets `name` to `value`.
    #[must_use]
    pub fn new(name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

impl Middleware for SetHeader {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        let headers = &mut request.message.headers;
        if headers.get(&self.name).is_none() {
            headers.insert(self.name.clone(), self.value.clone());
        }
        next.call(request).await
    }

    fn waits_for_next_only(&self) -> bool {
        true
    }
}

/// Hides the value, which may be a secret.
impl std::fmt::Debug for SetHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SetHeader").field("name", &self.name).finish_non_exhaustive()
    }
}
