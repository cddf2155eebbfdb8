//! The calling end: which link a request takes, and what becomes of those that a link loses.

mod replies;

use std::sync::Arc;

use polywire_core::{Address, Receiver, Result, Sender};
use tokio::sync::mpsc;

use self::replies::Replies;
use crate::config::Settings;
use crate::engine::Cargo;
use crate::links::{Links, Outgoing};
use crate::plan::Plan;
use crate::transport::{Bound, End};
use crate::wire::Role;

/// Opens the calling end of `service`. It waits for no peer longer than a moment; requests do.
pub(crate) async fn open(
    settings: &Settings,
    plan: &Plan,
    service: &Address,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Sender, Receiver)> {
    let (failures, failed) = mpsc::unbounded_channel();
    let links = Links::open(settings, Cargo::Requests, plan, bound, Some(failures)).await?;
    let requests = Outgoing::new(links.clone(), Role::Request(service.clone()));
    let replies = Replies::new(links.clone(), failed, settings.limits, service.clone());
    Ok((links, Sender::new(requests), Receiver::new(replies)))
}
