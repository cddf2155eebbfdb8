//! Security: who may connect, and how peers prove their identity.

mod admission_bounds;
#[cfg(feature = "curve")]
pub mod curve;
#[cfg(feature = "engine-omq")]
mod mechanism;
#[cfg(feature = "engine-omq")]
pub mod plain;

pub use self::admission_bounds::Admission;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
pub(crate) use self::admission_bounds::FIRST_MAX;
#[cfg(feature = "engine-omq")]
pub(crate) use self::mechanism::Security;
