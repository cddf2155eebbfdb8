//! The Prometheus recorder of the process.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use polywire_core::{Error, ErrorKind, Result};

use super::render::Render;

/// The recorder that this file has installed.
///
/// A recorder cannot be removed from a process, so each later app reuses this one. The lock is held
/// while the recorder is installed: two apps never install one each.
static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Buckets of durations in seconds.
const BUCKETS: [f64; 13] =
    [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Render {
    /// Installs the recorder, unless it is installed, and writes by it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the process has another recorder.
    pub(crate) fn prometheus() -> Result<Self> {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = match &*installed {
            Some(handle) => handle.clone(),
            None => {
                let handle = PrometheusBuilder::new()
                    .set_buckets(&BUCKETS)
                    .and_then(PrometheusBuilder::install_recorder)
                    .map_err(|error| {
                        let text = "cannot install the Prometheus recorder; \
                                    with another recorder, use App::metrics";
                        Error::new(ErrorKind::Config, text).with_source(error).unsent()
                    })?;
                installed.insert(handle).clone()
            }
        };
        let upkeep = handle.clone();
        Ok(Self::new(move || handle.render()).with_upkeep(move || upkeep.run_upkeep()))
    }
}
