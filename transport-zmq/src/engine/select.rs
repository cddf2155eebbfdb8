//! Sockets of the engine that the settings select. The only place that names both engines.
//!
//! | | `omq` | `zeromq` |
//! |---|---|---|
//! | request-reply | both sides bind or connect | clients connect, servers bind |
//! | pipelines | both sides bind or connect | unsupported: it loses jobs |
//! | publish-subscribe | both sides bind or connect | unsupported: it drops events |
//! | endpoint changes | at any time | none after opening |
//! | CURVE and PLAIN | supported | unsupported |
//!
//! An engine that is not a feature of this build fails when a socket is opened, not when the
//! transport is built.

use std::sync::Arc;

use polywire_core::{Address, Result, Window};

use super::budgeted_router::BudgetedRouter;
use super::error::{no_pipelines, no_pubsub, not_compiled_in, unsupported};
use super::socket::{ClientRouter, Dealer, Pull, Router, Sub, Traffic, XPub};
#[cfg(feature = "engine-omq")]
use super::{add_endpoints, omq};
#[cfg(feature = "engine-zeromq")]
use super::{endpoint_changes::claim_socket_files, zeromq};
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::config::Engine;
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointSet};

/// Opens a DEALER or PUSH socket for one endpoint. [`Dealer::up`] connects it.
///
/// # Errors
///
/// `Unsupported` for jobs on engine `zeromq`, and for an engine that is not compiled in.
pub(crate) fn connect_dealer(
    settings: &Settings,
    traffic: &Traffic,
    endpoint: &Endpoint,
) -> Result<Arc<dyn Dealer>> {
    match (settings.engine, traffic) {
        #[cfg(feature = "engine-omq")]
        (Engine::Omq, _) => Ok(Arc::new(omq::OmqDealer::connect(settings, traffic, endpoint)?)),
        #[cfg(feature = "engine-zeromq")]
        (Engine::Zeromq, Traffic::Requests) => {
            Ok(Arc::new(zeromq::ZeromqDealer::connect(settings, endpoint)))
        }
        #[cfg(feature = "engine-zeromq")]
        (Engine::Zeromq, Traffic::Jobs(_) | Traffic::AnyJobs) => Err(no_pipelines()),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in().with("endpoint", endpoint)),
    }
}

/// Opens a PUSH socket that pullers connect to. It has no endpoint yet.
///
/// # Errors
///
/// `Unsupported` unless the engine is `omq`.
pub(crate) fn bind_dealer(settings: &Settings, traffic: &Traffic) -> Result<Arc<dyn Dealer>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqDealer::bind(settings, traffic)?)),
        _ => Err(no_pipelines().with("traffic", format!("{traffic:?}"))),
    }
}

/// Opens a ROUTER socket that servers connect to. It has no endpoint yet.
///
/// # Errors
///
/// `Unsupported` unless the engine is `omq`.
pub(crate) fn bind_client_router(settings: &Settings) -> Result<Arc<dyn ClientRouter>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqClientRouter::open(settings)?)),
        _ => Err(unsupported("cannot bind the calling side: this engine only connects it")),
    }
}

/// Opens a ROUTER socket at all endpoints of a set. Returns the bound ones with their real ports.
/// Each peer has a [`ByteBudget`](super::ByteBudget).
///
/// # Errors
///
/// `Unsupported` for an endpoint to connect to on engine `zeromq`, and those of
/// [`change_endpoint`](super::change_endpoint).
pub(crate) async fn bind_router(
    settings: &Settings,
    endpoints: &EndpointSet,
) -> Result<(Arc<dyn Router>, Vec<String>)> {
    let (router, bound) = bind_unbudgeted_router(settings, endpoints).await?;
    Ok((Arc::new(BudgetedRouter::new(router, settings.peer_bytes_max)), bound))
}

/// Opens a ROUTER socket that counts no bytes.
async fn bind_unbudgeted_router(
    settings: &Settings,
    endpoints: &EndpointSet,
) -> Result<(Arc<dyn Router>, Vec<String>)> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => {
            let router = Arc::new(omq::OmqRouter::open(settings)?);
            let bound = add_endpoints(&*router, endpoints).await?;
            Ok((router, bound))
        }
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => {
            if !endpoints.connect.is_empty() {
                // The engine does not reconnect a ROUTER socket.
                return Err(unsupported(
                    "cannot connect the serving side: this engine only binds it",
                ));
            }
            claim_socket_files(&endpoints.bind).await?;
            let (router, bound) = zeromq::ZeromqRouter::bind(&endpoints.bind).await?;
            Ok((Arc::new(router), bound))
        }
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in().with("endpoints", endpoints.names())),
    }
}

/// Opens a PULL socket for one queue, or for jobs of any queue. It has no endpoint yet.
///
/// # Errors
///
/// `Unsupported` unless the engine is `omq`.
pub(crate) fn open_pull(
    settings: &Settings,
    queue: Option<&Address>,
    window: Window,
) -> Result<Arc<dyn Pull>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqPull::open(settings, queue, window)?)),
        _ => Err(no_pipelines()
            .with("queue", format!("{queue:?}"))
            .with("window", window.messages())),
    }
}

/// Opens an XPUB socket. It has no endpoint yet.
///
/// # Errors
///
/// `Unsupported` unless the engine is `omq`.
pub(crate) fn open_xpub(settings: &Settings) -> Result<Arc<dyn XPub>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqXPub::open(settings)?)),
        _ => Err(no_pubsub()),
    }
}

/// Opens a SUB socket. It has no endpoint yet.
///
/// # Errors
///
/// `Unsupported` unless the engine is `omq`.
pub(crate) fn open_sub(settings: &Settings, window: Window) -> Result<Arc<dyn Sub>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqSub::open(settings, window)?)),
        _ => Err(no_pubsub().with("window", window.messages())),
    }
}
