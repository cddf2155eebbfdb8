//! Middleware for clients, servers, workers and listeners.
//!
//! A call is one function on clients and servers ([`Service`](crate::Service)), so that one layer
//! fits clients, servers, workers and listeners. [`Client::layer`](crate::Client::layer) wraps a
//! client, [`Layer::layer`] wraps any service, and `tower::ServiceBuilder` combines several layers.
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
//! let router =
//!     Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
//! let server = Server::bind(&transport, "calculator").await?;
//! tokio::spawn(server.serve(ConcurrencyLimit::new(8).layer(router)));
//!
//! let client = Client::connect(&transport, "calculator", MessagePack)
//!     .await?
//!     .layer(&Deadlines::new().cap(Duration::from_secs(5)))
//!     .layer(&Retry::new()); // outside: each attempt has its own 5 seconds
//! assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! | layer | purpose |
//! |---|---|
//! | [`Authenticate`] | identifies callers by their headers and refuses unknown ones |
//! | [`CircuitBreaker`] | refuses requests for a while after repeated failures |
//! | [`ConcurrencyLimit`] | limits the requests that run at once; the others wait or are refused |
//! | [`Deadlines`] | sets deadlines where they are missing and caps them, by method |
//! | [`LogFailures`] | logs failures, and expected ones at `debug` |
//! | `Metrics` | records counts, durations and in-flight requests (feature `metrics`) |
//! | [`RateLimit`] | limits the requests per period; the others wait or are refused |
//! | [`Retry`] | retries requests that are safe to repeat, within a budget |
//! | [`SetHeader`] | sets a header on every request |
//! | [`Trace`] | records spans by OpenTelemetry's conventions and propagates traces |
//!
//! # Order
//!
//! The layer that is added last handles a request first. Recommended orders, outermost first:
//!
//! - on a client: `Trace`, `Metrics`, `Retry`, `CircuitBreaker`, `Deadlines`, limits
//! - on a server: `Trace`, `Metrics`, `LogFailures`, `Authenticate`, limits
//!
//! # Shared state
//!
//! Clones of a layer and all services that one layer wraps share its state: one budget, one limit,
//! one breaker. A service with a limit of its own needs a layer of its own.
//!
//! # Dropped calls
//!
//! If the future of a call is dropped, each layer drops the future of the service behind it. The
//! docs of a layer state any further effect.
//!
//! # Custom middleware
//!
//! Implement [`Middleware`], which is one async function, and wrap it with [`layer`]; or implement
//! [`Layer`].

mod authenticate;
mod circuit_breaker;
mod circuit_log;
mod concurrency_limit;
mod deadline_limits;
mod failure_log_throttle;
mod layered;
mod log_failures;
#[cfg(feature = "metrics")]
mod metrics;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod middleware;
mod outcome_classification;
mod overload_refusal;
mod rate_limit;
mod retry;
mod set_header;
mod stopped_call_guard;
#[cfg(feature = "tower")]
mod tower;
mod tower_layer_impls;
mod trace;

pub use tower_layer::Layer;

pub use self::authenticate::Authenticate;
pub use self::circuit_breaker::CircuitBreaker;
pub use self::concurrency_limit::ConcurrencyLimit;
pub use self::deadline_limits::Deadlines;
pub(crate) use self::failure_log_throttle::{FailureKind, FailureLogThrottle};
pub use self::layered::{Layered, MiddlewareLayer, layer};
pub use self::log_failures::LogFailures;
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
pub use self::middleware::Middleware;
pub use self::rate_limit::RateLimit;
pub use self::retry::{Backoff, Budget, Retry};
pub use self::set_header::SetHeader;
#[cfg(feature = "tower")]
pub use self::tower::{FromTower, ToTower};
pub use self::trace::{Propagate, Trace, TraceContext};
