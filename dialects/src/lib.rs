//! Wire formats of other RPC systems for [polywire](https://docs.rs/polywire).
//!
//! A dialect is one type: the layout of a call in the body, and the layout of the message on its
//! transport. Each is a feature, off by default.
//!
//! | feature | type | system | transport |
//! |---|---|---|---|
//! | `nameko` | [`Nameko`] | nameko 2 and 3, Python | RabbitMQ |
//! | `amqprpc` | [`Amqprpc`] | py-amqprpc and go-amqprpc | RabbitMQ |

#[cfg(feature = "amqprpc")]
pub mod amqprpc;
#[cfg(any(feature = "amqprpc", feature = "nameko"))]
#[cfg_attr(not(feature = "nameko"), allow(dead_code, reason = "some of it is for nameko alone"))]
mod format;
#[cfg(feature = "nameko")]
pub mod nameko;
#[cfg(any(feature = "amqprpc", feature = "nameko"))]
mod request_id;

#[cfg(feature = "amqprpc")]
#[doc(inline)]
pub use self::amqprpc::Amqprpc;
#[cfg(feature = "nameko")]
#[doc(inline)]
pub use self::nameko::Nameko;
