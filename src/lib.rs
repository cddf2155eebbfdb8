//! polywire
pub use polywire_core::*;
