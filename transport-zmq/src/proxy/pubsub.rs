//! The publish-subscribe pattern: events from publishers to subscribers.
//!
//! The SUB socket of the frontend subscribes to everything, before the first subscriber connects.
//! So no subscription has to travel through the proxy, and an open subscriber misses nothing. The
//! XPUB socket of the backend filters the events for each subscriber. A second task answers the
//! sync markers of subscribers, as a publisher does.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use polywire_core::{Result, Window};
use tokio::task::AbortHandle;

use super::endpoint::ResolvedEndpoint;
use super::stats::Counters;
use super::tasks::{ProxyTasks, endpoint_name, has_too_many_frames, wait_until};
use crate::engine::{self, Sub, XPub};
use crate::publisher::answer_sync_markers;
use crate::wire::{Frames, SyncMarker};

/// Opens both sockets and starts to pass events on.
///
/// # Errors
///
/// `Config` if an endpoint cannot be bound. Then both sockets are closed.
pub(super) async fn start(
    frontend: &ResolvedEndpoint,
    backend: &ResolvedEndpoint,
) -> Result<ProxyTasks> {
    let xpub = engine::open_xpub(&backend.settings)?;
    let markers = xpub.sync_markers();
    let sub = engine::open_sub(&frontend.settings, Window::new(1000))?;
    // A sync marker after the subscription to everything: publishers learn that they are complete.
    sub.subscribe(Bytes::new()).await?;
    sub.subscribe(SyncMarker::fresh().frame().clone()).await?;
    let frontend_real = engine::add_endpoints(&*sub, &frontend.endpoints).await?;
    let backend_real = engine::add_endpoints(&*xpub, &backend.endpoints).await?;
    // Tasks are spawned after the last step that can fail, since they keep their sockets open.
    let answering = tokio::spawn(answer_sync_markers(xpub.clone(), markers));
    let counters = Arc::<Counters>::default();
    let task = tokio::spawn(pass_on(sub.messages(), xpub.clone(), counters.clone()));
    let finish = finish(sub, xpub, task.abort_handle());
    Ok(ProxyTasks {
        frontend: endpoint_name(&frontend.endpoints, frontend_real),
        backend: endpoint_name(&backend.endpoints, backend_real),
        counters,
        tasks: vec![task, answering],
        finish: Mutex::new(Some(finish.boxed())),
    })
}

/// Passes events on until the frontend socket stops, or the backend socket closes. Waits for
/// subscribers without room.
async fn pass_on(
    mut arrivals: BoxStream<'static, (Bytes, Frames)>,
    xpub: Arc<dyn XPub>,
    counters: Arc<Counters>,
) {
    while let Some((first, frames)) = arrivals.next().await {
        // Answers to this proxy, and to other proxies behind the same publishers.
        if SyncMarker::read(&first).is_some() {
            continue;
        }
        if has_too_many_frames(&frames) {
            counters.count_dropped("it has too many frames");
            continue;
        }
        if xpub.send(first, frames).await.is_err() {
            return;
        }
        counters.to_backend.fetch_add(1, Ordering::Relaxed);
    }
}

/// Stops receiving, waits until the events received before are passed on, and closes both sides.
async fn finish(sub: Arc<dyn Sub>, xpub: Arc<dyn XPub>, passing_on: AbortHandle) {
    sub.stop();
    wait_until(|| passing_on.is_finished()).await;
    sub.close().await;
    xpub.close().await;
}
