//! Helpers that several tests share.

#[macro_use]
pub(crate) mod not_run;
#[macro_use]
pub(crate) mod engine;
pub(crate) mod envelope;

pub(crate) mod address;
pub(crate) mod context;
#[cfg(feature = "engine-omq")]
pub(crate) mod events;
pub(crate) mod folder;
pub(crate) mod identified;
#[cfg(feature = "engine-omq")]
pub(crate) mod jobs;
#[cfg(all(unix, feature = "engine-omq"))]
pub(crate) mod process;
pub(crate) mod refusing;
pub(crate) mod wait;
