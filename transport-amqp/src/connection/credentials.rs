//! Credentials that may change over time.
//!
//! A provider is asked before each attempt to connect, so a password may be rotated and a token may
//! expire while a transport is connected: the broker checks credentials when a connection opens.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use lapin::uri::AMQPUserInfo;
use polywire_core::Result;

/// A user name with a password or a token. [`Debug`](fmt::Debug) shows neither.
#[derive(Clone)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Creates credentials from a user name, and a password or a token.
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

/// Function that returns the credentials for each new connection.
#[derive(Clone)]
pub(crate) struct CredentialsProvider(
    Arc<dyn Fn() -> BoxFuture<'static, Result<Credentials>> + Send + Sync>,
);

impl CredentialsProvider {
    /// Wraps a function of the user.
    pub(crate) fn new<F, Fut>(ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials>> + Send + 'static,
    {
        Self(Arc::new(move || ask().boxed()))
    }

    /// Calls the function. Its errors fail the attempt to connect.
    pub(crate) async fn ask(&self) -> Result<Credentials> {
        (self.0)().await
    }
}
