//! Layers: what a call goes through on its way, on either end.
//!
//! A call is one function on both ends ([`Service`]), so a layer is written once and wraps clients,
//! servers, workers and listeners alike. Each of those here is a plain value;
//! [`Client::layer`](crate::Client::layer) puts one in front of a client, [`Layer::layer`] in front
//! of any service, and `tower::ServiceBuilder` stacks several.
//!
//! ```
//! # use std::time::Duration;
//! # use polywire_codec::MessagePack;
//! # use polywire_core::{CallError, Client, Memory, Router, Server};
//! use polywire_core::middleware::{ConcurrencyLimit, Deadlines, Layer, Retry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CallError> {
//! # let transport = Memory::new();
//! let router = Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
//! let server = Server::bind(&transport, "calculator").await?;
//! tokio::spawn(server.serve(ConcurrencyLimit::new(8).layer(router)));
//!
//! let client = Client::connect(&transport, "calculator", MessagePack)
//!     .await?
//!     .layer(&Deadlines::new().cap(Duration::from_secs(5)))
//!     .layer(&Retry::new()); // in front: each attempt has the five seconds
//! assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! | layer | what it does |
//! |---|---|
//! | [`Authenticate`] | finds out from the headers who calls, and refuses who may not |
//! | [`CircuitBreaker`] | stops calling what keeps failing, for a while |
//! | [`ConcurrencyLimit`] | so many at once; the rest waits, or is shed |
//! | [`Deadlines`] | a deadline for what has none, and a cap for what has one, by method |
//! | [`LogFailures`] | a line in the log for each failure, but for those that are expected |
//! | `Metrics` | calls, durations and calls in flight (feature `metrics`) |
//! | [`RateLimit`] | so many in a time; the rest waits, or is shed |
//! | [`Retry`] | tries again what may be, within a budget |
//! | [`SetHeader`] | a header on every request |
//! | [`Trace`] | spans by OpenTelemetry's conventions, and a trace that goes on at the other end |
//!
//! **Order.** The layer that was put on last sees a request first. A good order from the caller's
//! side: `Trace`, `Metrics`, `Retry`, `CircuitBreaker`, `Deadlines`, limits; on a server: `Trace`,
//! `Metrics`, `LogFailures`, `Authenticate`, limits.
//!
//! **Sharing.** Clones of a layer, and all that one layer wraps, share its state: one budget, one
//! limit, one breaker. Make a layer of its own for each service that is to be limited on its own.
//!
//! **Of your own.** Implement [`Middleware`], one async function, and wrap it in [`layer`]; or
//! implement [`Layer`].

mod authenticate;
mod breaker;
mod concurrency;
mod deadlines;
mod failure;
mod header;
mod layered;
mod log;
#[cfg(feature = "metrics")]
mod metrics;
mod rate;
mod retry;
#[cfg(feature = "tower")]
mod tower;
mod trace;

use std::future::Future;
use std::time::Duration;

pub use tower_layer::Layer;

pub use self::authenticate::Authenticate;
pub use self::breaker::CircuitBreaker;
pub use self::concurrency::ConcurrencyLimit;
pub use self::deadlines::Deadlines;
pub use self::header::SetHeader;
pub use self::layered::{Layered, MiddlewareLayer, layer};
pub use self::log::LogFailures;
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
pub use self::rate::RateLimit;
pub use self::retry::{Backoff, Budget, Retry};
#[cfg(feature = "tower")]
pub use self::tower::{FromTower, ToTower};
pub use self::trace::{Propagate, Trace, TraceContext};
use crate::error::{CallError, Error, ErrorKind};
use crate::service::{Reply, Request, Service};

/// What a layer does with a call: one async function around the next one.
///
/// It may change the request, look at the outcome, call `next` several times or not at all.
/// Dropping the future abandons the call.
///
/// ```
/// use polywire_core::middleware::{Layer, Middleware, layer};
/// use polywire_core::{CallError, Reply, Request, Service, service_fn};
///
/// #[derive(Clone)]
/// struct Shout;
///
/// impl Middleware for Shout {
///     async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
///         let reply = next.call(request).await?;
///         Ok(Reply::new(reply.message.body.into_bytes().to_ascii_uppercase()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// let service = layer(Shout).layer(service_fn(async |_| Ok(Reply::new("quiet"))));
/// let reply = service.call(Request::new(Default::default())).await?;
/// assert_eq!(reply.message.body.into_bytes(), "QUIET");
/// # Ok(())
/// # }
/// ```
pub trait Middleware: Clone + Send + Sync + 'static {
    /// Carries out the request, by `next` or otherwise.
    fn call<S: Service>(
        &self,
        request: Request,
        next: &S,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send;
}

/// How long a limit lets a request wait that has no deadline, or a far one. The default is 30
/// seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The refusal of a request that was not even tried. A server answers with it as
/// [`Code::Unavailable`].
///
/// [`Code::Unavailable`]: crate::Code::Unavailable
fn overloaded(because: &'static str) -> CallError {
    Error::new(ErrorKind::Overloaded, because).unsent().into()
}
