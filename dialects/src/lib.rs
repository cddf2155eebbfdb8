//! Wire formats of other RPC systems for [polywire](https://docs.rs/polywire).
//!
//! A dialect is one type: the layout of a call in the body, and the layout of the message on its
//! transport. Each is a feature, off by default.
//!
//! | feature | type | system | transport |
//! |---|---|---|---|
//! | `nameko` | [`Nameko`] | nameko 2 and 3, Python | RabbitMQ |

#[cfg(feature = "nameko")]
pub mod nameko;

#[cfg(feature = "nameko")]
#[doc(inline)]
pub use self::nameko::Nameko;
