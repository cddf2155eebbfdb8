//! Requesters: requests to the peers of a balancer, and their replies.

mod replies;

use std::sync::Arc;

use polywire_core::transport::{Receiver, Sender};
use polywire_core::{Address, Result};

use self::replies::ReplyReceiver;
use crate::balancer::{BalancedSender, ReplyStream};
use crate::config::Settings;
use crate::plan::Plan;
use crate::transport::{Bound, End};
use crate::wire::Role;

/// Opens a requester of `service`. Waits up to one second until its peers are connected; a request
/// waits longer, see [`Balancer::send`](crate::balancer::Balancer::send).
pub(crate) async fn open(
    settings: &Settings,
    plan: &Plan,
    service: &Address,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Sender, Receiver)> {
    let (balancer, replies) = ReplyStream::open(settings, plan, bound).await?;
    let requests = BalancedSender::new(balancer.clone(), Role::Request(service.clone()));
    let replies = ReplyReceiver::new(replies, settings.limits, service.clone());
    Ok((balancer, Sender::new(requests), Receiver::new(replies)))
}
