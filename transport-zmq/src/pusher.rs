//! The pushing end: links as a calling end has, without replies.

use std::sync::Arc;

use polywire_core::transport::Sender;
use polywire_core::{Address, Result};

use crate::config::Settings;
use crate::endpoint::{BoundEndpoints, EndpointSet, ManagedEndpoint};
use crate::engine::Cargo;
use crate::links::{Links, Outgoing};
use crate::wire::Role;

/// Opens the pushing end of `queue`. It waits for no puller longer than a moment; jobs do.
pub(crate) async fn open(
    settings: &Settings,
    plan: &EndpointSet,
    queue: &Address,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedEndpoint>, Sender)> {
    let links = Links::open(settings, Cargo::Jobs(queue.clone()), plan, bound).await?;
    Ok((links.clone(), Sender::new(Outgoing::new(links, Role::Job(queue.clone())))))
}
