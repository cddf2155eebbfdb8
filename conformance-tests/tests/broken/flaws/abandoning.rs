//! Flaws of cancellation: a server learns of an abandoned call never, late, or of the wrong call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use polywire_core::message::CallId;
use polywire_core::transport::{Abandoned, Delivery, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Message, Result};

use crate::flaw::{Flaw, Halves};
use crate::halves::altered;

/// Never reports an abandoned call to its server.
#[derive(Clone)]
pub(crate) struct NeverAbandons;

impl Flaw for NeverAbandons {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (altered(sender, |request| vec![request]), receiver)
    }
}

/// Reports a call whose deadline has passed like one that was dropped.
#[derive(Clone)]
pub(crate) struct NeverExpires;

impl Flaw for NeverExpires {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (Sender::new(Dropped(sender)), receiver)
    }
}

struct Dropped(Sender);

impl Outbound for Dropped {
    fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message)
    }

    fn abandon(&self, call: CallId) {
        self.0.abandon(call);
    }
}

/// Reports an abandoned call late to its server.
#[derive(Clone)]
pub(crate) struct AbandonsLate;

/// Later than a handler may stop.
pub(crate) const LATE: Duration = Duration::from_millis(300);

impl Flaw for AbandonsLate {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (Sender::new(Late(Arc::new(sender))), receiver)
    }
}

struct Late(Arc<Sender>);

impl Outbound for Late {
    fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message)
    }

    fn abandon(&self, call: CallId) {
        let sender = self.0.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            sender.abandon(call);
        }));
    }
}

/// Abandons all calls when one of them is abandoned.
#[derive(Clone)]
pub(crate) struct AbandonsAll;

impl Flaw for AbandonsAll {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let abandoned = VecDeque::new();
        (sender, Receiver::new(Overreacting { receiver, seen: Vec::new(), abandoned }))
    }
}

struct Overreacting {
    receiver: Receiver,
    seen: Vec<Abandoned>,
    abandoned: VecDeque<Abandoned>,
}

impl Stream for Overreacting {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.receiver).poll_next(cx);
        if let Poll::Ready(Some(Ok(Delivery { message, .. }))) = &next
            && let (Some(reply_to), Some(id)) = (&message.reply_to, message.id)
        {
            self.seen.push(Abandoned::new(reply_to.clone(), id));
        }
        next
    }
}

impl Inbound for Overreacting {
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        if self.receiver.poll_abandoned(cx).is_ready() {
            let all = self.seen.clone();
            self.abandoned.extend(all);
        }
        self.abandoned.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
