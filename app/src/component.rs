//! A running component: its endpoints, its gates, its end.

#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod component;
#[cfg(feature = "metrics")]
mod counts;
mod endpoint;
mod endpoints;
mod into_service;
mod lifecycle;
mod tasks;

pub use self::component::Component;
pub use self::into_service::IntoService;
pub(crate) use self::lifecycle::Stop;
