//! Pushers: jobs to the peers of a balancer, without replies.

use std::sync::Arc;

use polywire_core::transport::Sender;
use polywire_core::{Address, Result};

use crate::balancer::{BalancedSender, Balancer};
use crate::config::Settings;
use crate::endpoint::{BoundEndpoints, EndpointSet, ManagedHandle};
use crate::engine::Traffic;
use crate::wire::MessageRole;

/// Opens a pusher to `queue`. Waits up to one second until its pullers are connected; a job waits
/// longer, see [`Balancer::send`].
///
/// Returns the handle that the transport manages, and the sender. If the future is dropped, the
/// sockets are closed.
///
/// # Errors
///
/// Those of [`Balancer::open`].
pub(crate) async fn open(
    settings: &Settings,
    endpoints: &EndpointSet,
    queue: &Address,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedHandle>, Sender)> {
    let balancer = Balancer::open(settings, Traffic::Jobs(queue.clone()), endpoints, bound).await?;
    let jobs = BalancedSender::new(balancer.clone(), MessageRole::Job(queue.clone()));
    Ok((balancer, Sender::new(jobs)))
}
