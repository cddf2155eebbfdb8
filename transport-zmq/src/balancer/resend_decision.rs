//! Decision whether a call is sent again: after a refusal, a decline, or a lost connection.
//!
//! [`InFlightCall::lost`] keeps the request of a lost call that may run twice. [`Resends`] has the
//! state of the calls that wait for their attempt, and the reply stream polls the attempts.
//!
//! [`Resends`]: super::resends::Resends

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use polywire_core::message::CallId;
use polywire_core::{Deadline, Error, ErrorKind};
use tokio::time::timeout_at;

use super::balancer::Balancer;
use super::in_flight_call::{InFlightCall, LOSSES_MAX};
use super::reply_stream::{ReplyEvent, ReplyStream};
use super::resends::LostCall;
use crate::wire::{self, Frames};

impl ReplyStream {
    /// Sends a refused or declined request, which is registered, to a peer that has not seen it, as
    /// soon as that one has room. Returns the event if there is no such peer, or the request was
    /// not kept.
    pub(super) fn try_next_peer(
        &self,
        call: InFlightCall,
        event: impl FnOnce() -> ReplyEvent,
    ) -> Option<ReplyEvent> {
        let mut call = call.excluding_tried();
        let (Some(id), Some(frames)) = (call.id, call.frames.take()) else {
            return Some(event());
        };
        let mut frames = *frames;
        if let Some(deadline) = call.deadline {
            wire::restamp(&mut frames, deadline);
        }
        let Err(frames) = self.balancer.resend_now(id, &call, frames) else { return None };
        if !self.balancer.has_peer_for(&call) {
            self.balancer.resends().forget(id);
            return Some(event());
        }
        let (attempt, event) = (self.balancer.resend(id, call, frames), event());
        self.attempts.push(attempt.map(|failed| failed.then_some(event)).boxed());
        None
    }

    /// Sends a lost call again if its request [is kept](InFlightCall::lost), and fails it
    /// otherwise. The call may reach the same server again, after that has reconnected.
    pub(super) fn resend_lost(
        &self,
        LostCall { mut call, endpoint }: LostCall,
    ) -> Option<ReplyEvent> {
        let id = call.id?;
        let losses = call.losses;
        let text = match losses >= LOSSES_MAX {
            true => {
                "each server disconnected before its reply: the request ends its servers, or is \
                     larger than they accept (`message_max`)"
            }
            false => "the connection was lost before the reply arrived",
        };
        let error = Error::new(ErrorKind::Disconnected, text).with("endpoint", endpoint);
        let failure = ReplyEvent::Failed(error.with("connections_lost", losses).with_call(id));
        match call.frames.take() {
            Some(frames) => {
                tracing::debug!(call = %id, "an idempotent call is sent again: its connection was lost");
                // A new call: a peer that refused it before may serve it by now.
                let mut again = InFlightCall::new(Some(id), call.deadline, true);
                again.losses = losses;
                let attempt = self.balancer.resend(id, again, *frames);
                self.attempts.push(attempt.map(|failed| failed.then_some(failure)).boxed());
                None
            }
            None => Some(failure),
        }
    }
}

impl Balancer {
    /// Sends a [registered](super::resends::Resends::send) call again that a peer refused or
    /// declined, without waiting. Returns the frames if there is no other peer, or none with room.
    fn resend_now(&self, id: CallId, call: &InFlightCall, frames: Frames) -> Result<(), Frames> {
        self.resends().send(id, || self.peers().try_send_balanced(call, frames))
    }

    /// Sends a [registered](super::resends::Resends::send) call again, as soon as there is a peer,
    /// for as long as its caller waits. Resolves to whether that failed.
    ///
    /// Unlike [`send`](Self::send), a resend waits for a peer until the deadline of the call and
    /// not only for the connect timeout: the server may be restarting.
    fn resend(
        self: &Arc<Self>,
        id: CallId,
        call: InFlightCall,
        frames: Frames,
    ) -> BoxFuture<'static, bool> {
        let balancer = self.clone();
        self.resends().run(id, async move {
            let patience = Deadline::after(balancer.connect_timeout);
            let give_up = call.deadline.unwrap_or(patience).instant();
            let sent =
                timeout_at(give_up, balancer.send_until(give_up, call, frames, Some(id))).await;
            sent.unwrap_or_else(|_| Err(balancer.no_peer()))
        })
    }
}
