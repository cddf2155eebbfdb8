//! Codecs for [polywire](https://docs.rs/polywire): how values become bytes.
//!
//! Each is a feature: `json` for [`Json`], `msgpack` for [`MessagePack`].

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
