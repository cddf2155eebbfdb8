//! Authentication by headers.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::{Layer, Layered, Middleware};
use crate::error::{CallError, Code, Fault, Result};
use crate::message::Headers;
use crate::service::{Reply, Request, Service};

/// Middleware that authenticates requests by their headers.
///
/// A check maps the headers to an identity. The identity is added to the
/// [extensions](Request::extensions), where handlers read it. If the check fails, the request is
/// answered with the fault of the check, and the handler does not run.
///
/// Headers are not encrypted. Without the security of the transport (TLS or CURVE), a token can be
/// read in transit.
///
/// Place it on a server behind `Trace`, `Metrics` and `LogFailures`, and in front of limits, so
/// that refused requests are recorded and use no permits.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::middleware::{Authenticate, Layer};
/// use polywire_core::{Context, Headers, Router};
///
/// struct User(String);
///
/// let authenticate = Authenticate::new(|headers: &Headers| match headers.get("authorization") {
///     Some("s3cret") => Ok(User("ada".to_owned())),
///     _ => Err(Authenticate::refusal("no valid token")),
/// });
/// let router = Router::new(MessagePack).method("whoami", |context: Context, (): ()| async move {
///     Ok(context.extensions.get::<User>().map(|user| user.0.clone()))
/// });
/// let service = authenticate.layer(router);
/// # let _ = service;
/// ```
pub struct Authenticate<I = ()>(Arc<Check<I>>);

type Check<I> = dyn Fn(&Headers) -> Result<I, Fault> + Send + Sync;

impl<I: Any + Send + Sync> Authenticate<I> {
    /// Creates a middleware with this check, which returns an identity or the fault of the refusal.
    ///
    /// The check runs for every request and must not block. A check that performs I/O needs a
    /// [`Middleware`] of its own.
    pub fn new(check: impl Fn(&Headers) -> Result<I, Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl Authenticate {
    /// Creates a middleware that admits requests with `token` in the header `name`. The comparison
    /// takes constant time.
    #[must_use]
    pub fn token(name: impl Into<String>, token: impl Into<String>) -> Self {
        let (name, token) = (name.into(), token.into());
        Self::new(move |headers| {
            let received = headers.get(&name).unwrap_or_default();
            let is_valid: bool = received.as_bytes().ct_eq(token.as_bytes()).into();
            is_valid.then_some(()).ok_or_else(|| Self::refusal("no valid token"))
        })
    }

    /// Returns the fault of a refusal: [`Code::Denied`], of the kind `Unauthenticated`.
    #[must_use]
    pub fn refusal(because: impl Into<String>) -> Fault {
        Fault::new(Code::Denied, because).with_kind("Unauthenticated")
    }
}

impl<I: Any + Send + Sync> Middleware for Authenticate<I> {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        let identity = (self.0)(&request.message.headers)?;
        request.extensions.insert(identity);
        next.call(request).await
    }
}

impl<I: Any + Send + Sync, S> Layer<S> for Authenticate<I> {
    type Service = Layered<Self, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered::new(self.clone(), inner)
    }
}

impl<I> Clone for Authenticate<I> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I> fmt::Debug for Authenticate<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::service::service_fn;

    fn request(token: Option<&'static str>) -> Request {
        let headers = token.map(|token| ("authorization", token)).into_iter().collect();
        Request::new(Message { headers, ..Message::default() })
    }

    #[tokio::test]
    async fn only_the_right_token_is_admitted() {
        let service = Authenticate::token("authorization", "s3cret")
            .layer(service_fn(async |_| Ok(Reply::new("admitted"))));
        for wrong in [None, Some(""), Some("s3cre"), Some("s3cret!"), Some("S3cret")] {
            let error = service.call(request(wrong)).await.unwrap_err();
            assert_eq!(error.fault().unwrap().code, Code::Denied, "{wrong:?}");
        }
        assert!(service.call(request(Some("s3cret"))).await.is_ok());
    }

    #[tokio::test]
    async fn handler_reads_the_identity() {
        let check =
            |headers: &Headers| Ok(headers.get("authorization").unwrap_or("anonymous").to_owned());
        let service = Authenticate::new(check).layer(service_fn(async |request: Request| {
            Ok(Reply::new(request.context().extensions.get::<String>().unwrap().clone()))
        }));
        let reply = service.call(request(Some("ada"))).await.unwrap();
        assert_eq!(reply.message.body.into_bytes(), "ada");
    }
}
