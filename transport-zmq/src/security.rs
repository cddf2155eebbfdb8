//! Security: who may connect, and how peers prove their identity.

mod admission;
#[cfg(feature = "engine-omq")]
pub mod curve;
#[cfg(feature = "engine-omq")]
mod mechanism;
#[cfg(feature = "engine-omq")]
pub mod plain;
#[cfg(feature = "engine-omq")]
pub(crate) mod secret_source;

pub use self::admission::Admission;
#[cfg(feature = "engine-omq")]
pub(crate) use self::admission::FIRST_MAX;
#[cfg(feature = "engine-omq")]
pub(crate) use self::mechanism::Security;
