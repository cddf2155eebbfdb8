//! Receiving half of a requester.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound};
use polywire_core::{Address, Error, ErrorKind, Limits, Result};

use crate::balancer::{ReplyEvent, ReplyStream};
use crate::wire::{self, DecodeFailure, Frames, Role};

/// A receiver of replies.
pub(super) struct ReplyReceiver {
    replies: ReplyStream,
    limits: Limits,
    service: Address,
}

impl ReplyReceiver {
    pub(super) fn new(replies: ReplyStream, limits: Limits, service: Address) -> Self {
        Self { replies, limits, service }
    }

    fn decode(&self, frames: Frames) -> Result<Delivery> {
        match wire::decode(frames, &self.limits) {
            Ok((Role::Reply, message)) => Ok(Delivery::settled(message)),
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

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.replies.poll_next(cx));
        Poll::Ready(event.map(|event| match event {
            ReplyEvent::Message(frames) => self.decode(frames),
            ReplyEvent::Failed(error) => Err(self.with_service(error)),
        }))
    }
}

impl Inbound for ReplyReceiver {
    /// Does nothing: the stream ends when the requester is closed.
    fn stop(self: Pin<&mut Self>) {}
}
