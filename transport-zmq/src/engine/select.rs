//! Sockets of the engine that the settings select. The only place that names both engines.
//!
//! Both engines have all patterns, on both sides, with endpoint changes at any time. Only `omq` has
//! CURVE and PLAIN.
//!
//! An engine that is not a feature of this build fails when a socket is opened, not when the
//! transport is built.

use std::sync::Arc;

use polywire_core::{Address, Result, Window};

#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use super::add_endpoints;
#[cfg(feature = "engine-omq")]
use super::omq;
use super::send_budgeted_router::SendBudgetedRouter;
use super::setup_errors::not_compiled_in;
use super::socket::{ClientRouter, Dealer, Pull, Router, Sub, Traffic, XPub};
#[cfg(feature = "engine-zeromq")]
use super::zeromq;
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::config::Engine;
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointSet};

/// Opens a DEALER or PUSH socket for one endpoint. [`Dealer::up`] connects it.
///
/// The traffic decides on the socket type: DEALER for requests, PUSH for jobs. No connection is
/// made here, so an unreachable endpoint is no error.
///
/// # Errors
///
/// `Unsupported` if the engine is not compiled in.
pub(crate) fn connect_dealer(
    settings: &Settings,
    traffic: &Traffic,
    endpoint: &Endpoint,
) -> Result<Arc<dyn Dealer>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqDealer::connect(settings, traffic, endpoint)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::ZeromqDealer::connect(settings, traffic, endpoint))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in()
            .with("endpoint", endpoint)
            .with("traffic", format!("{traffic:?}"))),
    }
}

/// Opens a PUSH socket that pullers connect to. It has no endpoint yet.
///
/// Called for jobs only: servers that connect for requests need a route each, see
/// [`bind_client_router`].
///
/// # Errors
///
/// `Unsupported` if the engine is not compiled in.
pub(crate) fn bind_dealer(settings: &Settings, traffic: &Traffic) -> Result<Arc<dyn Dealer>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqDealer::bind(settings, traffic)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::ZeromqPush::bind(settings, traffic))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in().with("traffic", format!("{traffic:?}"))),
    }
}

/// Opens a ROUTER socket that servers connect to. It has no endpoint yet.
///
/// # Errors
///
/// `Unsupported` if the engine is not compiled in.
pub(crate) fn bind_client_router(settings: &Settings) -> Result<Arc<dyn ClientRouter>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqClientRouter::open(settings)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::ZeromqClientRouter::open(settings))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in()),
    }
}

/// Opens a ROUTER socket at all endpoints of a set. Returns the bound ones with their real ports.
/// Each peer has a [`ByteBudget`](super::ByteBudget).
///
/// # Errors
///
/// Those of [`change_endpoint`](super::change_endpoint), and `Unsupported` if the engine is not
/// compiled in.
pub(crate) async fn bind_router(
    settings: &Settings,
    endpoints: &EndpointSet,
) -> Result<(Arc<dyn Router>, Vec<String>)> {
    let (router, bound) = bind_unbudgeted_router(settings, endpoints).await?;
    Ok((Arc::new(SendBudgetedRouter::new(router, settings.peer_bytes_max)), bound))
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
            let router = Arc::new(zeromq::ZeromqRouter::open(settings));
            let bound = add_endpoints(&*router, endpoints).await?;
            Ok((router, bound))
        }
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in().with("endpoints", endpoints.names())),
    }
}

/// Opens a PULL socket for one queue, or for jobs of any queue. It has no endpoint yet.
///
/// A queue becomes part of the routing id that pushers see. `None` is for pipeline proxies.
///
/// The socket reads ahead as many jobs as the window, at most 1,000. Engine `omq` applies this
/// bound to each pusher, engine `zeromq` to all pushers together.
///
/// # Errors
///
/// `Unsupported` if the engine is not compiled in.
pub(crate) fn open_pull(
    settings: &Settings,
    queue: Option<&Address>,
    window: Window,
) -> Result<Arc<dyn Pull>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqPull::open(settings, queue, window)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::ZeromqPull::open(settings, queue, window))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in()
            .with("queue", format!("{queue:?}"))
            .with("window", window.messages())),
    }
}

/// Opens an XPUB socket. It has no endpoint yet.
///
/// [`XPub::sync_markers`] is called before the first endpoint is added.
///
/// # Errors
///
/// `Unsupported` if the engine is not compiled in.
pub(crate) fn open_xpub(settings: &Settings) -> Result<Arc<dyn XPub>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqXPub::open(settings)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::ZeromqXPub::open(settings))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in()),
    }
}

/// Opens a SUB socket. It has no endpoint yet.
///
/// The socket reads ahead as many events as the window, at most 1,000. Engine `omq` applies this
/// bound to each publisher, engine `zeromq` to all publishers together.
///
/// # Errors
///
/// `Unsupported` if the engine is not compiled in.
pub(crate) fn open_sub(settings: &Settings, window: Window) -> Result<Arc<dyn Sub>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::OmqSub::open(settings, window)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::ZeromqSub::open(settings, window))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(not_compiled_in().with("window", window.messages())),
    }
}
