//! The calling end: requests out, replies in.

mod replies;

use std::sync::Arc;

use polywire_core::transport::{Receiver, Sender};
use polywire_core::{Address, Result};

use self::replies::Replies;
use crate::config::Settings;
use crate::endpoint::{BoundEndpoints, EndpointSet, ManagedEndpoint};
use crate::links::{Links, Outgoing};
use crate::wire::Role;

/// Opens the calling end of `service`. It waits for no peer longer than a moment; requests do.
pub(crate) async fn open(
    settings: &Settings,
    plan: &EndpointSet,
    service: &Address,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedEndpoint>, Sender, Receiver)> {
    let (links, returns) = Links::open_both_ways(settings, plan, bound).await?;
    let requests = Outgoing::new(links.clone(), Role::Request(service.clone()));
    let replies = Replies::new(returns, settings.limits, service.clone());
    Ok((links, Sender::new(requests), Receiver::new(replies)))
}
