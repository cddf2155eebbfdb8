//! Sources of connections: the brokers of the URL, a function of the program, or a connection that
//! the program has made.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use lapin::Connection;
use polywire_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::engine_cause::EngineCause;
use crate::engine_error::kind_of;

/// Source of the connections of a transport.
#[derive(Clone, Default)]
pub(crate) enum ConnectionSource {
    /// The brokers of the URL.
    #[default]
    Url,
    /// A function of the program, which makes each connection. The transport calls the function
    /// again after each loss.
    Function(ConnectFunction),
    /// A connection that the program has made. It has no successor, and the transport never
    /// closes it.
    Given(Arc<Connection>),
}

impl ConnectionSource {
    /// Returns whether there is one connection, which is not replaced, and which the transport does
    /// not close.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// Returns the name of the source for errors and events, in place of a host; `None` for the
    /// URL.
    pub(super) fn name(&self) -> Option<&'static str> {
        match self {
            Self::Url => None,
            Self::Function(_) => Some("connections_from"),
            Self::Given(_) => Some("from_connection"),
        }
    }
}

impl fmt::Debug for ConnectionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("url"))
    }
}

/// Function of the program that makes a connection.
#[derive(Clone)]
pub(crate) struct ConnectFunction(
    Arc<dyn Fn() -> BoxFuture<'static, Result<Connection>> + Send + Sync>,
);

impl ConnectFunction {
    /// Wraps a function of the user.
    pub(crate) fn new<F, Fut, E>(connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Connection, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self(Arc::new(move || {
            let connecting = connect();
            async move { connecting.await.map_err(|error| cannot_connect(error.into())) }.boxed()
        }))
    }

    /// Calls the function, for up to `limit`, the connect timeout.
    ///
    /// The function runs on a task of its own. At the limit, and if the future is dropped, the task
    /// is aborted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] if the broker refuses; [`ErrorKind::Disconnected`] for any other
    /// failure, a panic of the function included.
    pub(super) async fn connect(&self, limit: Duration) -> Result<Connection> {
        let connect = self.0.clone();
        // A task of its own ends with any panic. The set stops the task if this future is dropped.
        let mut connecting = JoinSet::new();
        connecting.spawn(async move { connect().await });
        match timeout(limit, connecting.join_next()).await {
            Ok(Some(Ok(connected))) => connected,
            Ok(Some(Err(panic))) => {
                let error = cannot_connect("the function panicked".into()).with("panic", &panic);
                // The payload of the panic is in it, and may panic when it is dropped.
                if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                    std::mem::forget(again);
                }
                Err(error)
            }
            Ok(None) => Err(cannot_connect("the runtime has ended".into())),
            Err(_) => {
                let cause = format!("it was not done within the connect timeout of {limit:?}");
                Err(cannot_connect(cause.into()))
            }
        }
    }
}

/// Returns the error of an attempt whose function has failed. An error of the engine keeps its
/// meaning: attempts at a broker that refuses have an end.
///
/// Any other error counts as a lost connection, after which the transport tries again.
fn cannot_connect(cause: Box<dyn StdError + Send + Sync>) -> Error {
    let text = "cannot connect with the function of the program";
    match cause.downcast::<lapin::Error>() {
        Ok(error) => {
            Error::new(kind_of(&error), text).with_source(EngineCause::of(&error)).unsent()
        }
        Err(other) => Error::new(ErrorKind::Disconnected, text).with_source(other).unsent(),
    }
}

/// Returns the error after the end of a connection that the program has made.
///
/// The supervisor takes this error for final.
pub(super) fn ended() -> Error {
    let text = "cannot go on: the connection that the program handed in has ended";
    Error::new(ErrorKind::Closed, text)
        .with("then", "make another transport, or use AmqpBuilder::connections_from")
        .unsent()
}
