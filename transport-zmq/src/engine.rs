//! The seam to the engines: the two kinds of sockets as request-reply needs them, and no more.

#[cfg(feature = "engine-omq")]
mod omq;
#[cfg(feature = "engine-zeromq")]
mod zeromq;

use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::{Error, ErrorKind, Result, Sending};

#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
use crate::config::Engine;
use crate::config::{Plan, Settings};
use crate::endpoint::{Endpoint, claim_socket_file};
use crate::wire::Frames;

/// A calling socket: one that dials one peer, or one that several peers dial.
pub(crate) trait Dealer: Send + Sync {
    /// Hands a message over, or gives it back if there is no room now.
    fn try_send(&self, frames: Frames) -> Result<(), Frames>;

    /// Waits until there may be room. May be dropped.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Waits until a peer is there, dialling it if need be. May be called again after [`down`](Self::down) only.
    ///
    /// Fails once the socket is closed.
    fn up(&self) -> BoxFuture<'_, Result<()>>;

    /// Waits until no peer is there any more, and forgets what was not sent.
    fn down(&self) -> BoxFuture<'_, ()>;

    /// What arrives, until the socket is closed. To be called once.
    fn replies(&self) -> BoxStream<'static, Frames>;

    /// Closes the socket, delivering what was handed over for as long as it is set to linger.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A serving socket.
pub(crate) trait Router: Send + Sync {
    /// Hands a message over for a peer: at once if there is room. Fails if the peer is gone.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_>;

    /// What arrives, and from which peer, until the socket is closed. To be called once.
    fn requests(&self) -> BoxStream<'static, (Bytes, Frames)>;

    /// Closes the socket, delivering what was handed over for as long as it is set to linger.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// A calling socket that dials this endpoint.
pub(crate) fn dial(settings: &Settings, endpoint: &Endpoint) -> Result<Arc<dyn Dealer>> {
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => Ok(Arc::new(omq::Dealer::dial(settings, endpoint)?)),
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => Ok(Arc::new(zeromq::Dealer::dial(settings, endpoint))),
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(unsupported("this engine is not compiled in").with("endpoint", endpoint)),
    }
}

/// A calling socket that listens at these endpoints, and where it really does.
pub(crate) async fn listen(
    settings: &Settings,
    endpoints: &[Endpoint],
) -> Result<(Arc<dyn Dealer>, Vec<String>)> {
    claim(endpoints).await?;
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => {
            let (dealer, bound) = omq::Dealer::listen(settings, endpoints).await?;
            Ok((Arc::new(dealer), bound))
        }
        _ => Err(unsupported("this engine cannot bind a calling end")),
    }
}

/// A serving socket at the endpoints of this plan, and where it really listens.
pub(crate) async fn serve(settings: &Settings, plan: &Plan) -> Result<(Arc<dyn Router>, Vec<String>)> {
    claim(&plan.bind).await?;
    match settings.engine {
        #[cfg(feature = "engine-omq")]
        Engine::Omq => {
            let (router, bound) = omq::Router::open(settings, plan).await?;
            Ok((Arc::new(router), bound))
        }
        #[cfg(feature = "engine-zeromq")]
        Engine::Zeromq => {
            if !plan.connect.is_empty() {
                // A connection that it loses, it cannot make again.
                return Err(unsupported("this engine cannot connect a serving end"));
            }
            let (router, bound) = zeromq::Router::bind(&plan.bind).await?;
            Ok((Arc::new(router), bound))
        }
        #[allow(unreachable_patterns, reason = "reachable if an engine is not compiled in")]
        _ => Err(unsupported("this engine is not compiled in")),
    }
}

async fn claim(endpoints: &[Endpoint]) -> Result<()> {
    for path in endpoints.iter().filter_map(Endpoint::socket_file) {
        claim_socket_file(path.to_owned()).await?;
    }
    Ok(())
}

fn unsupported(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, what).unsent()
}

/// Binding failed: the port is taken, or not ours to take.
#[cfg(any(feature = "engine-omq", feature = "engine-zeromq"))]
fn cannot_bind(endpoint: &Endpoint, because: impl std::error::Error + Send + Sync + 'static) -> Error {
    let error = Error::new(ErrorKind::Config, "cannot bind").with("endpoint", endpoint);
    error.with("because", &because).with_source(because).unsent()
}
