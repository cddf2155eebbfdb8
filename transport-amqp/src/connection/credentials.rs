//! Who we are to the broker, where that changes with time.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use lapin::uri::AMQPUserInfo;
use polywire_core::Result;

/// A user and a password, or a token in its place. [`Debug`](fmt::Debug) shows neither.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// The credentials of this user.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl From<Credentials> for AMQPUserInfo {
    fn from(Credentials { user, password }: Credentials) -> Self {
        Self { username: user, password }
    }
}

/// Where credentials come from. It is asked each time that a connection is made.
#[derive(Clone)]
pub(crate) struct CredentialsProvider(
    Arc<dyn Fn() -> BoxFuture<'static, Result<Credentials>> + Send + Sync>,
);

impl CredentialsProvider {
    pub(crate) fn new<F, Fut>(ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials>> + Send + 'static,
    {
        Self(Arc::new(move || ask().boxed()))
    }

    pub(crate) async fn ask(&self) -> Result<Credentials> {
        (self.0)().await
    }
}
