//! Credentials that may change over time.
//!
//! A provider is asked before each attempt to connect, so a password may be rotated and a token may
//! expire while a transport is connected: the broker checks credentials when a connection opens.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use lapin::uri::AMQPUserInfo;
use polywire_core::{Error, ErrorKind, Result};
use tokio::task::{JoinError, JoinSet};

/// A user name with a password or a token. [`Debug`](fmt::Debug) shows neither.
///
/// Only the broker checks the user and the password: a refused login is an error of the kind
/// `Denied`.
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
///
/// Clones share the function. The supervisors of both connections may call it at the same time.
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

    /// Calls the function. Its errors and its panics fail the attempt to connect.
    ///
    /// The function has no time limit here; the caller sets one. Dropping the future stops the
    /// function at its next await.
    pub(crate) async fn ask(&self) -> Result<Credentials> {
        let ask = self.0.clone();
        // A task of its own ends with any panic, also one of a destructor. The set stops the task
        // if this future is dropped.
        let mut asking = JoinSet::new();
        asking.spawn(async move { ask().await });
        match asking.join_next().await {
            Some(Ok(credentials)) => credentials,
            Some(Err(panic)) => {
                let error = panicked(&panic);
                // The payload of the panic is in it, and may panic when it is dropped.
                if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                    std::mem::forget(again);
                }
                Err(error)
            }
            None => Err(Error::new(ErrorKind::Closed, "cannot get the credentials").unsent()),
        }
    }
}

/// Returns the error of an attempt to connect whose provider has panicked. The next attempt may
/// succeed.
fn panicked(panic: &JoinError) -> Error {
    let cause = "cannot get the credentials: the provider panicked";
    Error::new(ErrorKind::Disconnected, cause).with("panic", panic).unsent()
}
