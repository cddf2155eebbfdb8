//! Flaws of cancellation: a server learns of an abandoned call never, late, or of the wrong call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use polywire_conformance::Hook;
use polywire_core::message::CallId;
use polywire_core::transport::{Abandoned, Delivery, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Message, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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
        (sender, Receiver::new(Overreacting::new(receiver, None)))
    }
}

/// Abandons all calls when the link is cut.
#[derive(Clone, Default)]
pub(crate) struct AbandonsWhenCut(Arc<Mutex<Vec<UnboundedSender<()>>>>);

impl Flaw for AbandonsWhenCut {
    async fn disturb(&self, _: Hook) {
        self.0.lock().unwrap().iter().for_each(|server| {
            // The server may have ended.
            let _ = server.send(());
        });
    }

    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let (cut, cuts) = unbounded_channel();
        self.0.lock().unwrap().push(cut);
        (sender, Receiver::new(Overreacting::new(receiver, Some(cuts))))
    }
}

struct Overreacting {
    receiver: Receiver,
    cuts: Option<UnboundedReceiver<()>>,
    seen: Vec<Abandoned>,
    abandoned: VecDeque<Abandoned>,
}

impl Overreacting {
    fn new(receiver: Receiver, cuts: Option<UnboundedReceiver<()>>) -> Self {
        Self { receiver, cuts, seen: Vec::new(), abandoned: VecDeque::new() }
    }
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

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_read_ahead(cx)
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let is_cut = match &mut self.cuts {
            Some(cuts) => cuts.poll_recv(cx).is_ready(),
            None => false,
        };
        if self.receiver.poll_abandoned(cx).is_ready() || is_cut {
            let all = self.seen.clone();
            self.abandoned.extend(all);
        }
        self.abandoned.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
