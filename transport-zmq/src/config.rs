//! The configuration of a transport.

mod builder;
mod engine;
mod settings;

pub use self::builder::ZmqBuilder;
pub use self::engine::Engine;
pub(crate) use self::settings::{PEER_BYTES_MAX, Settings};
