//! Helpers for tests: a service and its client over memory in one line, a mock, outages on demand.
//!
//! Time is tokio's, so a test with `#[tokio::test(start_paused = true)]` waits for no deadline.
//!
//! ```
//! # use polywire_codec::MessagePack;
//! # use polywire_core::{CallError, Router};
//! use polywire_core::testing;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), CallError> {
//! let router = Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
//! let calculator = testing::client(router, MessagePack).await?;
//! assert_eq!(calculator.call::<i64>("add", &(2, 3)).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! A client that `#[service]` wrote is made of such a client:
//! `CalculatorClient::from(testing::client(…).await?)`.

mod flaky;
mod local;
mod mock;

pub use self::flaky::FlakyTransport;
pub use self::local::{Local, client};
pub use self::mock::Mock;
