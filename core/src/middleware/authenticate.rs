//! Who calls, and whether they may.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::{Layer, Layered, Middleware};
use crate::error::{CallError, Code, Fault, Result};
use crate::message::Headers;
use crate::service::{Reply, Request, Service};

/// Finds out from the headers who calls, and hands that on as a value that handlers can read; or
/// refuses.
///
/// Whoever is refused gets the fault that the check answered with; the handler never runs. The
/// transport's own security, TLS or CURVE, keeps headers from the eyes of others: without it, a
/// token can be read on the way.
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
    /// Lets through whom `check` knows, and hands on what it says, in [`Request::extensions`].
    ///
    /// A check runs for every request, and must not block; what has to look something up elsewhere
    /// is a [`Middleware`] of its own.
    pub fn new(check: impl Fn(&Headers) -> Result<I, Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }
}

impl Authenticate {
    /// Lets through whoever has `token` in the header `name`. It is compared in a time that does
    /// not tell how much of it was right.
    #[must_use]
    pub fn token(name: impl Into<String>, token: impl Into<String>) -> Self {
        let (name, token) = (name.into(), token.into());
        Self::new(move |headers| {
            let shown = headers.get(&name).unwrap_or_default();
            let is_right: bool = shown.as_bytes().ct_eq(token.as_bytes()).into();
            is_right.then_some(()).ok_or_else(|| Self::refusal("no valid token"))
        })
    }

    /// The fault for whom is not let through: [`Code::Denied`], of the kind `Unauthenticated`.
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
    async fn only_the_right_token_is_let_through() {
        let service = Authenticate::token("authorization", "s3cret")
            .layer(service_fn(async |_| Ok(Reply::new("come in"))));
        for wrong in [None, Some(""), Some("s3cre"), Some("s3cret!"), Some("S3cret")] {
            let error = service.call(request(wrong)).await.unwrap_err();
            assert_eq!(error.fault().unwrap().code, Code::Denied, "{wrong:?}");
        }
        assert!(service.call(request(Some("s3cret"))).await.is_ok());
    }

    #[tokio::test]
    async fn the_handler_reads_who_it_is() {
        let check =
            |headers: &Headers| Ok(headers.get("authorization").unwrap_or("nobody").to_owned());
        let service = Authenticate::new(check).layer(service_fn(async |request: Request| {
            Ok(Reply::new(request.context().extensions.get::<String>().unwrap().clone()))
        }));
        let reply = service.call(request(Some("ada"))).await.unwrap();
        assert_eq!(reply.message.body.into_bytes(), "ada");
    }
}
