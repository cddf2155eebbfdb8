//! Helpers for tests: a service with its client, a mock, and a transport with outages on demand.
//!
//! - [`client`] and [`Local`] serve a service over a memory transport of its own.
//! - [`Mock`] is a service with scripted replies, which records its calls.
//! - [`FlakyTransport`] fails, loses or delays sends on demand.
//!
//! Deadlines use tokio's clock, so a test with `#[tokio::test(start_paused = true)]` does not wait
//! for them.
//!
//! ```
//! # use polywire_codec::MessagePack;
//! # use polywire_core::{CallError, Router};
//! use polywire_core::testing;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CallError> {
//! let router =
//!     Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
//! let calculator = testing::client(router, MessagePack).await?;
//! assert_eq!(calculator.call::<i64>("add", &(2, 3)).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! A client that `#[service]` generates is made from such a client:
//! `CalculatorClient::from(testing::client(…).await?)`.

mod flaky_transport;
mod local_service;
mod mock_service;

pub use self::flaky_transport::FlakyTransport;
pub use self::local_service::{Local, client};
pub use self::mock_service::Mock;
