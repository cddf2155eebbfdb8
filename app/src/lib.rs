//! A [polywire](https://docs.rs/polywire) program as one component: it waits for the broker,
//! serves, answers probes, and drains on a signal.
//!
//! Programs use this crate as `polywire::app`, whose documentation is the guide.

mod app;
mod attempt_log;
mod canaries;
mod component;
mod exit;
#[cfg(feature = "metrics")]
mod failure_gauges;
mod layers;
mod probe;
#[cfg(test)]
mod recorded_log;
mod routes;
mod settings;
mod signals;
mod start;
mod start_failure;
mod stop_switch;
mod supervise;
mod transport;
mod url_host;
mod url_variable;

pub use self::app::App;
pub use self::component::{Component, IntoService};
pub use self::exit::{BoxError, Exit};
pub use self::layers::{AnyService, Layers};
pub use self::settings::Settings;
pub use self::signals::shutdown_signal;
pub use self::start::Connect;
pub use self::transport::AppTransport;
