//! Probes over HTTP: `/live`, `/ready`, `/metrics`, `/canary`.

mod answers;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod probe;
#[cfg(feature = "prometheus")]
mod prometheus;
mod render;

pub(crate) use self::probe::Probe;
pub(crate) use self::render::Render;
