//! Codecs for [polywire](https://docs.rs/polywire): encoding of values as bytes.
//!
//! The feature `json` enables [`Json`], the feature `msgpack` enables [`MessagePack`]. Both are
//! enabled by default. Any other format is a type that implements [`Codec`](polywire_core::Codec).

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
