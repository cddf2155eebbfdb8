//! Layers that a component puts around each server, worker and listener.

mod any_service;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod layers;
mod optional;

pub use self::any_service::AnyService;
pub(crate) use self::layers::LayerRole;
pub use self::layers::Layers;
