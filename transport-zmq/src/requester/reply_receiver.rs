//! Receiving half of a requester.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound};
use polywire_core::{Address, Error, ErrorKind, Limits, Result};

use crate::balancer::{ReplyEvent, ReplyStream};
use crate::wire::{self, DecodeFailure, Frames, MessageRole, Peek};

/// A receiver of replies. An error that it yields names its call, if that is known, and core fails
/// that call with it.
///
/// The receiver is the only reader of the sockets of its balancer. While core does not poll the
/// receiver, lost calls are not sent again either.
pub(super) struct ReplyReceiver {
    /// The messages of all peers.
    replies: ReplyStream,
    /// Limits on replies.
    limits: Limits,
    /// The service, for errors.
    service: Address,
}

impl ReplyReceiver {
    /// Wraps the reply stream of a balancer. `service` is for errors only.
    pub(super) fn new(replies: ReplyStream, limits: Limits, service: Address) -> Self {
        Self { replies, limits, service }
    }

    /// Decodes a message that must be a reply. The fixed part in `peek` is not parsed again.
    ///
    /// # Errors
    ///
    /// `Codec` for a message that is malformed or no reply, and `TooLarge` for one beyond the
    /// limits.
    fn decode(&self, peek: Option<Peek>, frames: Frames) -> Result<Delivery> {
        let decoded = match peek {
            Some(peek) => wire::decode_peeked(peek, frames, &self.limits),
            // No envelope: returns the error.
            None => wire::decode(frames, &self.limits),
        };
        match decoded {
            Ok((MessageRole::Reply, message)) => Ok(Delivery::settled(message)),
            Ok((role, _)) => {
                let error = Error::new(
                    ErrorKind::Codec,
                    "cannot read the reply: the message has another role",
                );
                Err(error.with("role", format!("{role:?}")))
            }
            Err(DecodeFailure { call: Some(call), error, .. }) => Err(error.with_call(call)),
            Err(DecodeFailure { error, .. }) => Err(error),
        }
    }

    /// Adds the service to the error of a call that no server takes.
    fn with_service(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Unroutable => error.with("service", &self.service),
            _ => error,
        }
    }
}

impl Stream for ReplyReceiver {
    type Item = Result<Delivery>;

    /// Yields replies, undecodable messages as errors, and failed calls as errors. Ends when the
    /// balancer is closed.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.replies.poll_next(cx));
        Poll::Ready(event.map(|event| match event {
            ReplyEvent::Message { peek, frames } => self.decode(peek, frames),
            ReplyEvent::Failed(error) => Err(self.with_service(error)),
        }))
    }
}

impl Inbound for ReplyReceiver {
    /// Does nothing: the stream ends when the requester is closed.
    fn stop(self: Pin<&mut Self>) {}
}
