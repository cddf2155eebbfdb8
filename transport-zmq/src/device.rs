//! Forwarders between two endpoints, so that neither side needs to know where the others are:
//! clients have one address, and those who do the work dial the other.
//!
//! ```
//! # use polywire_codec::MessagePack;
//! use polywire_core::{Client, Router, Server};
//! use polywire_zmq::device::{Forwarder, Pattern};
//! use polywire_zmq::{Side, Zmq};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), polywire_core::CallError> {
//! let forwarder = Forwarder::start(Pattern::RequestReply, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*").await?;
//!
//! // As many servers as there is work for.
//! let serving = Zmq::builder().connect(forwarder.back()).build()?;
//! let server = Server::bind(&serving, "calculator").await?;
//! tokio::spawn(server.serve(Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })));
//!
//! let calling = Zmq::builder().connect(forwarder.front()).build()?;
//! let client = Client::connect(&calling, "calculator", MessagePack).await?;
//! let sum: i64 = client.call("add", &(2, 3)).await?;
//! assert_eq!(sum, 5);
//!
//! forwarder.stop().await;
//! # Ok(())
//! # }
//! ```

mod desk;
mod forwarder;
mod place;

pub use self::forwarder::{Forwarder, ForwarderStats, Pattern};
pub use self::place::Place;
