//! The pushing end: links as a calling end has, without replies.

use std::sync::Arc;

use polywire_core::transport::Sender;
use polywire_core::{Address, Result};

use crate::config::Settings;
use crate::engine::Cargo;
use crate::links::{Links, Outgoing};
use crate::plan::Plan;
use crate::transport::{Bound, End};
use crate::wire::Role;

/// Opens the pushing end of `queue`. It waits for no puller longer than a moment; jobs do.
pub(crate) async fn open(
    settings: &Settings,
    plan: &Plan,
    queue: &Address,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Sender)> {
    let links = Links::open(settings, Cargo::Jobs(queue.clone()), plan, bound).await?;
    Ok((links.clone(), Sender::new(Outgoing::new(links, Role::Job(queue.clone())))))
}
