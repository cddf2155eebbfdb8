//! Security: who may connect, and how peers prove their identity.

#[cfg(feature = "curve")]
pub mod curve;
#[cfg(feature = "engine-omq")]
mod mechanism;
mod peer_bounds;
#[cfg(feature = "engine-omq")]
pub mod plain;

#[cfg(feature = "engine-omq")]
pub(crate) use self::mechanism::Security;
pub use self::peer_bounds::Admission;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
pub(crate) use self::peer_bounds::FIRST_MAX;
