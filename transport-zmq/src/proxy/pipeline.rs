//! The pipeline pattern: jobs from pushers to pullers.
//!
//! One task receives jobs from the PULL socket of the frontend and sends each to the next puller
//! with room. The task holds one job at a time. While no puller has room, it stops receiving, and
//! the high-water mark of the frontend socket makes the pushers wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use polywire_core::{Result, Window};
use tokio::task::AbortHandle;

use super::endpoint::ResolvedEndpoint;
use super::stats::Counters;
use super::tasks::{ProxyTasks, endpoint_name, has_too_many_frames, wait_until};
use crate::balancer::{Balancer, InFlightCall};
use crate::endpoint::{BoundEndpoints, ManagedHandle};
use crate::engine::{self, Pull, Traffic};
use crate::wire::Frames;

/// Opens both sockets and starts to pass jobs on.
///
/// # Errors
///
/// `Config` if an endpoint cannot be bound. Then both sockets are closed.
pub(super) async fn start(
    frontend: &ResolvedEndpoint,
    backend: &ResolvedEndpoint,
) -> Result<ProxyTasks> {
    let bound = BoundEndpoints::default();
    let balancer =
        Balancer::open(&backend.settings, Traffic::AnyJobs, &backend.endpoints, &bound).await?;
    let pull = engine::open_pull(&frontend.settings, None, Window::new(1000))?;
    let jobs = pull.jobs();
    let real = engine::add_endpoints(&*pull, &frontend.endpoints).await?;
    let counters = Arc::<Counters>::default();
    let task = tokio::spawn(pass_on(jobs, balancer.clone(), counters.clone()));
    let finish = finish(pull, balancer, task.abort_handle());
    Ok(ProxyTasks {
        frontend: endpoint_name(&frontend.endpoints, real),
        backend: endpoint_name(&backend.endpoints, bound.names()),
        counters,
        tasks: vec![task],
        finish: Mutex::new(Some(finish.boxed())),
    })
}

/// Passes jobs on until the frontend socket stops, or the backend sockets close.
///
/// A job that the task holds when it is aborted is lost.
async fn pass_on(
    mut jobs: BoxStream<'static, Frames>,
    balancer: Arc<Balancer>,
    counters: Arc<Counters>,
) {
    while let Some(frames) = jobs.next().await {
        if has_too_many_frames(&frames) {
            counters.count_dropped("it has too many frames");
            continue;
        }
        // A job waits for a puller however long that takes.
        while balancer.send(InFlightCall::new(None, None, false), frames.clone()).await.is_err() {
            if balancer.is_closed() {
                return;
            }
            tokio::task::coop::consume_budget().await;
        }
        counters.to_backend.fetch_add(1, Ordering::Relaxed);
    }
}

/// Stops receiving, waits until the jobs received before are passed on, and closes both sides.
async fn finish(pull: Arc<dyn Pull>, balancer: Arc<Balancer>, passing_on: AbortHandle) {
    pull.stop();
    wait_until(|| passing_on.is_finished()).await;
    pull.close().await;
    balancer.close().await;
}
