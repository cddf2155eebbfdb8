//! Canaries of a responder: requests from a socket of their own to the server socket.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::health::{CanaryEcho, CanaryReceiver, EndpointProbe};
use polywire_core::message::CallId;
use polywire_core::transport::async_trait;
use polywire_core::{Address, Error, ErrorKind, Limits, Result};
use tokio::time::{Instant, timeout};

use super::server_socket::ServerSocket;
use crate::common_errors::closed;
use crate::endpoint::OwnClient;
use crate::engine::{self, Dealer, Traffic};
use crate::wire::{self, Frames, MessageRole};

/// Sender of the canaries of one responder.
///
/// A canary goes through the socket to the queue of the service. Another responder of the service
/// in this process may take it. That one answers, and passes the canary to its sender, which
/// answers as well when it is polled.
pub(super) struct ResponderProbe {
    /// The server socket. A weak reference, so that the health of a responder does not keep the
    /// socket open.
    socket: Weak<ServerSocket>,
    /// The service, whose queue the canary goes through.
    service: Address,
    /// The number of the responder's consumer, with which it answers.
    consumer: u64,
}

impl ResponderProbe {
    /// Creates the sender of canaries to a consumer.
    pub(super) fn new(socket: &Arc<ServerSocket>, service: &Address, consumer: u64) -> Self {
        Self { socket: Arc::downgrade(socket), service: service.clone(), consumer }
    }

    /// Sends a canary, and waits for the answer of its own consumer. Within `patience`, the answer
    /// of another one counts only after that time.
    ///
    /// The first answer is waited for without a bound. `patience` counts from the send.
    ///
    /// # Errors
    ///
    /// `Closed` if there is no room or the connection ends, and `Unroutable` if the canary is
    /// refused.
    async fn send(
        &self,
        dealer: &dyn Dealer,
        replies: &mut BoxStream<'static, Frames>,
        (limits, patience): (&Limits, Duration),
    ) -> Result<CanaryEcho> {
        let (sent, own) = (Instant::now(), self.consumer.to_string());
        let request = wire::canary(own.clone()).with_id(CallId(1));
        let frames = wire::encode(&MessageRole::Request(self.service.clone()), request, limits)?;
        dealer.try_send(frames).map_err(|_| closed())?;
        let by = answer(replies, limits).await?;
        let echo = |receiver| CanaryEcho::new(sent.elapsed(), receiver);
        if by == own {
            return Ok(echo(CanaryReceiver::ThisEndpoint));
        }
        let other = echo(CanaryReceiver::Other { instance: format!("responder {by}") });
        let left = patience.saturating_sub(sent.elapsed());
        match timeout(left, answer(replies, limits)).await {
            Ok(Ok(by)) if by == own => Ok(echo(CanaryReceiver::ThisEndpoint)),
            _ => Ok(other),
        }
    }
}

/// Waits for the answer to a canary, and returns the number of the consumer that has answered, as
/// text. Other messages are dropped.
///
/// # Errors
///
/// `Closed` at the end of the stream, and `Unroutable` for a refusal.
async fn answer(replies: &mut BoxStream<'static, Frames>, limits: &Limits) -> Result<String> {
    loop {
        let frames = replies.next().await.ok_or_else(closed)?;
        match wire::decode(frames, limits) {
            Ok((MessageRole::Reply, message)) => {
                return Ok(String::from_utf8_lossy(&message.body.into_bytes()).into_owned());
            }
            Ok((MessageRole::Refusal, _)) => {
                let text = "the canary was refused: no responder serves the service";
                return Err(Error::new(ErrorKind::Unroutable, text));
            }
            // The notice of a server that leaves.
            _ => {}
        }
    }
}

#[async_trait]
impl EndpointProbe for ResponderProbe {
    /// Sends a canary over a connection of its own to the first endpoint that the socket has bound.
    /// Waits for the own consumer for half of `limit`; core bounds the whole.
    ///
    /// # Errors
    ///
    /// `Unsupported` if the socket has bound no endpoint, or the transport has no credentials of a
    /// client. `Closed` if the socket is closed, whether its receivers still exist or not.
    /// `Unroutable` if no responder serves the service.
    async fn canary(&self, limit: Duration) -> Result<CanaryEcho> {
        let client = {
            let socket = self.socket.upgrade().ok_or_else(closed)?;
            OwnClient::of(socket.bound(), socket.settings())?
        };
        let OwnClient { endpoint, settings, .. } = &client;
        let limits = settings.limits;
        let dealer = engine::connect_dealer(settings, &Traffic::Requests, endpoint)?;
        let mut replies = dealer.replies();
        dealer.up().await?;
        let outcome = self.send(&*dealer, &mut replies, (&limits, limit / 2)).await;
        drop(replies);
        dealer.close().await;
        outcome
    }
}
