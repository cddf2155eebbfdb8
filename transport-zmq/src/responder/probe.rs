//! Canaries of a responder: requests from a socket of their own to the server socket.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::health::{CanaryEcho, CanaryReceiver, EndpointProbe};
use polywire_core::message::CallId;
use polywire_core::transport::async_trait;
use polywire_core::{Address, Error, ErrorKind, Limits, Message, Result};
use tokio::time::{Instant, timeout};

use super::server_socket::ServerSocket;
use crate::endpoint::own_endpoint;
use crate::engine::{self, Dealer, Traffic};
use crate::error::closed;
use crate::wire::{self, Frames, Role};

/// Sender of the canaries of one responder.
///
/// A canary goes through the socket to the queue of the service. Other responders of the service in
/// this process may take it; then the sender tries again.
pub(super) struct ResponderProbe {
    /// The server socket, which the responder keeps open.
    socket: Weak<ServerSocket>,
    service: Address,
    /// The number of the responder's consumer, with which it answers.
    consumer: u64,
}

impl ResponderProbe {
    /// Creates the sender of canaries to a consumer.
    pub(super) fn new(socket: &Arc<ServerSocket>, service: &Address, consumer: u64) -> Self {
        Self { socket: Arc::downgrade(socket), service: service.clone(), consumer }
    }

    /// Sends one canary, and waits for its answer.
    async fn send(
        &self,
        number: u64,
        dealer: &dyn Dealer,
        replies: &mut BoxStream<'static, Frames>,
        limits: &Limits,
    ) -> Result<CanaryEcho> {
        let sent = Instant::now();
        let request = wire::canary("").with_id(CallId(number));
        let frames = wire::encode(&Role::Request(self.service.clone()), request, limits)?;
        dealer.try_send(frames).map_err(|_| closed())?;
        loop {
            let frames = replies.next().await.ok_or_else(closed)?;
            match wire::decode(frames, limits) {
                Ok((Role::Reply, Message { id: Some(CallId(id)), body, .. })) if id == number => {
                    let by = String::from_utf8_lossy(&body.into_bytes()).into_owned();
                    let receiver = match by == self.consumer.to_string() {
                        true => CanaryReceiver::ThisEndpoint,
                        false => CanaryReceiver::Other { instance: format!("responder {by}") },
                    };
                    return Ok(CanaryEcho::new(sent.elapsed(), receiver));
                }
                Ok((Role::Refusal, _)) => {
                    let text = "the canary was refused: no responder serves the service";
                    return Err(Error::new(ErrorKind::Unroutable, text));
                }
                // The answer to an earlier canary, or the notice of a server that leaves.
                _ => {}
            }
        }
    }
}

#[async_trait]
impl EndpointProbe for ResponderProbe {
    async fn canary(&self, limit: Duration) -> Result<CanaryEcho> {
        let began = Instant::now();
        let (dealer, limits) = {
            let socket = self.socket.upgrade().ok_or_else(closed)?;
            let settings = socket.settings();
            let endpoint = own_endpoint(socket.bound(), settings)?;
            (engine::connect_dealer(settings, &Traffic::Requests, &endpoint)?, settings.limits)
        };
        let mut replies = dealer.replies();
        dealer.up().await?;
        let mut outcome = self.send(1, &*dealer, &mut replies, &limits).await;
        for number in 2..=TRIES_MAX {
            let left = (limit / 2).saturating_sub(began.elapsed());
            let is_other =
                outcome.as_ref().is_ok_and(|echo| echo.receiver != CanaryReceiver::ThisEndpoint);
            if !is_other || left.is_zero() {
                break;
            }
            match timeout(left, self.send(number, &*dealer, &mut replies, &limits)).await {
                Ok(Ok(next)) => outcome = Ok(next),
                // The echo of another responder stands.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        drop(replies);
        dealer.close().await;
        outcome
    }
}

/// The most canaries that one probe sends, within the first half of its limit.
const TRIES_MAX: u64 = 16;
