//! The receiving half of a calling end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound};
use polywire_core::{Address, Error, ErrorKind, Limits, Result};

use crate::links::{Returned, Returns};
use crate::wire::{self, DecodeFailure, Frames, Role};

/// What comes back, as deliveries.
pub(super) struct Replies {
    returns: Returns,
    limits: Limits,
    service: Address,
}

impl Replies {
    pub(super) fn new(returns: Returns, limits: Limits, service: Address) -> Self {
        Self { returns, limits, service }
    }

    fn read(&self, frames: Frames) -> Result<Delivery> {
        match wire::decode(frames, &self.limits) {
            Ok((Role::Reply, message)) => Ok(Delivery::settled(message)),
            Ok((role, _)) => {
                let error = Error::new(ErrorKind::Codec, "something else came where replies come");
                Err(error.with("role", format!("{role:?}")))
            }
            Err(DecodeFailure { call: Some(call), error, .. }) => Err(error.with_call(call)),
            Err(DecodeFailure { error, .. }) => Err(error),
        }
    }

    fn fail(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Unroutable => error.with("service", &self.service),
            _ => error,
        }
    }
}

impl Stream for Replies {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let returned = ready!(self.returns.poll_next(cx));
        Poll::Ready(returned.map(|returned| match returned {
            Returned::Frames(frames) => self.read(frames),
            Returned::Failed(error) => Err(self.fail(error)),
        }))
    }
}

impl Inbound for Replies {
    fn stop(self: Pin<&mut Self>) {}
}
