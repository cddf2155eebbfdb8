//! Codecs for [polywire](https://docs.rs/polywire): encoding of values as bytes.
//!
//! Both codecs encode the values of serde's data model, and both are enabled by default. A value
//! that could not be decoded is an error where it is encoded. The codecs differ as follows:
//!
//! | | [`MessagePack`] (feature `msgpack`) | [`Json`] (feature `json`) |
//! |---|---|---|
//! | media type | `application/msgpack` | `application/json` |
//! | readable for people | no | yes |
//! | bytes | as bytes | as an array of numbers |
//! | keys of maps | any value | strings and numbers |
//! | `NaN` and infinite numbers | yes | an error |
//! | deepest nesting | 127 levels | 127 levels |
//!
//! A decoding error has the details `type`, which names the type to be decoded, and `path`, which
//! names the malformed part of the value. The codecs decode once without tracking the path, and
//! again with it only after an error. The second pass costs no more memory than the first, and its
//! path is given only if both fail alike.
//!
//! Any other format is a type that implements [`Codec`](polywire_core::Codec).
//!
//! Encoding appends to the buffer. A failed encoding can leave a part of the value in the buffer.
//! Decoding reads one value, which must fill all of the bytes.
//!
//! A type may borrow from the encoded bytes. MessagePack lends text and binary data. JSON lends
//! text without escapes: a `&str` that the peer wrote with an escape cannot be decoded.
//!
//! Both codecs are types without fields and without state. Copying a codec is free, and concurrent
//! use needs no lock.
//!
#![doc = include_str!("../docs/types.md")]

#[cfg(any(feature = "json", feature = "msgpack"))]
mod failure;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(any(feature = "json", feature = "msgpack"))]
mod readable;

#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "msgpack")]
pub use self::msgpack::MessagePack;
