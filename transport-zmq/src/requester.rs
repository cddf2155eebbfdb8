//! Requesters: requests to the peers of a balancer, and their replies.

mod reply_receiver;

use std::sync::Arc;

use polywire_core::transport::{Receiver, Sender};
use polywire_core::{Address, Result};

use self::reply_receiver::ReplyReceiver;
use crate::balancer::{BalancedSender, ReplyStream};
use crate::config::Settings;
use crate::endpoint::{BoundEndpoints, EndpointSet, ManagedHandle};
use crate::wire::MessageRole;

/// Opens a requester of `service`. Waits up to one second, or the connect timeout if that is
/// shorter, until its peers are connected. A request waits longer, see
/// [`Balancer::send`](crate::balancer::Balancer::send).
///
/// Returns the handle that the transport manages, and the two halves. If the future is dropped, the
/// sockets are closed.
///
/// # Errors
///
/// Those of [`Balancer::open`](crate::balancer::Balancer::open).
pub(crate) async fn open(
    settings: &Settings,
    endpoints: &EndpointSet,
    service: &Address,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedHandle>, Sender, Receiver)> {
    let (balancer, replies) = ReplyStream::open(settings, endpoints, bound).await?;
    let requests = BalancedSender::new(balancer.clone(), MessageRole::Request(service.clone()));
    let replies = ReplyReceiver::new(replies, settings.limits, service.clone());
    Ok((balancer, Sender::new(requests), Receiver::new(replies)))
}
