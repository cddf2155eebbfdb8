//! The configuration of a transport.
//!
//! [`ZmqBuilder`] collects the options, and [`ZmqBuilder::build`] checks all of them. The result is
//! [`Settings`], which never change. The endpoints are kept apart, since they may change later.

mod batching;
mod builder;
mod engine;
mod settings;

pub use self::batching::Batching;
pub use self::builder::ZmqBuilder;
pub use self::engine::Engine;
#[cfg(feature = "engine-omq")]
pub(crate) use self::settings::PEER_BYTES_MAX;
pub(crate) use self::settings::Settings;
