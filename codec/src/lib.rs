//! Codecs for [polywire](https://docs.rs/polywire): encoding of values as bytes.
//!
//! Both codecs encode any value of serde's data model, and both are enabled by default. They differ
//! as follows:
//!
//! | | [`MessagePack`] (feature `msgpack`) | [`Json`] (feature `json`) |
//! |---|---|---|
//! | media type | `application/msgpack` | `application/json` |
//! | readable for people | no | yes |
//! | bytes | as bytes | as an array of numbers |
//! | keys of maps | any value | strings and numbers |
//! | `NaN` and infinite numbers | yes | an error |
//! | deepest nesting | 128 levels | 128 levels |
//!
//! Neither format distinguishes `Some(None)` or `Some(())` from `None`.
//!
//! A decoding error has the detail `path`, which names the malformed part of the value. The codecs
//! decode once without tracking the path, and again with it only after an error.
//!
//! Any other format is a type that implements [`Codec`](polywire_core::Codec).

#[cfg(any(feature = "json", feature = "msgpack"))]
mod failure;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;

#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "msgpack")]
pub use self::msgpack::MessagePack;
