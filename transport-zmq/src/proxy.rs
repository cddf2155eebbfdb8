//! Proxies between two endpoints, so that neither side needs the addresses of the other: clients
//! have one address, and servers connect to the other.
//!
//! ```
//! # use polywire_codec::MessagePack;
//! use polywire_core::{Client, Router, Server};
//! use polywire_zmq::Zmq;
//! use polywire_zmq::proxy::{Pattern, Proxy};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), polywire_core::CallError> {
//! let proxy =
//!     Proxy::start(Pattern::RequestReply, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*").await?;
//!
//! // Any number of servers.
//! let serving = Zmq::builder().connect(proxy.backend()).build()?;
//! let server = Server::bind(&serving, "calculator").await?;
//! tokio::spawn(server.serve(
//!     Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) }),
//! ));
//!
//! let calling = Zmq::builder().connect(proxy.frontend()).build()?;
//! let client = Client::connect(&calling, "calculator", MessagePack).await?;
//! let sum: i64 = client.call("add", &(2, 3)).await?;
//! assert_eq!(sum, 5);
//!
//! proxy.stop().await;
//! # Ok(())
//! # }
//! ```

mod call_ids;
mod endpoint;
mod pipeline;
#[allow(clippy::module_inception, reason = "the folder is named after its main type")]
mod proxy;
mod pubsub;
mod request_reply;
mod stats;
mod tasks;

pub use self::endpoint::ProxyEndpoint;
pub use self::proxy::{Pattern, Proxy};
pub use self::stats::ProxyStats;
