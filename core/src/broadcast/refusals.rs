//! Refusals of calls that an instance has no room for.

use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::mpsc;

use super::envelope::InstanceEvent;
use crate::error::{Code, Error, ErrorKind, Fault};
use crate::message::{Deadline, Message};
use crate::transport::{Delivery, LogThrottle, Sender};

/// Queue of the refusals that are to be sent, at most [`QUEUE_MAX`]. Further ones are not sent:
/// their callers wait until the deadline.
pub(super) struct Refusals {
    queue: mpsc::Sender<Message>,
    /// The text of the instance.
    instance: ByteString,
    log: LogThrottle,
}

impl Refusals {
    /// Starts the task that sends refusals. It ends when the value is dropped, after at most
    /// [`REFUSE_MAX`].
    pub(super) fn start(sender: Sender, instance: ByteString) -> Self {
        let (queue, refused) = mpsc::channel(QUEUE_MAX);
        drop(tokio::spawn(send(sender, refused)));
        Self { queue, instance, log: LogThrottle::new() }
    }

    /// Refuses a call as [`Code::Unavailable`], or drops a one-way broadcast.
    pub(super) fn refuse(&self, delivery: Delivery) {
        let Delivery { message, receipt, .. } = delivery;
        receipt.ack();
        if let Some(count) = self.log.note() {
            let method = message.method.as_ref().map(tracing::field::display);
            tracing::warn!(method, count, "refused broadcasts: too many wait");
        }
        // A one-way broadcast has neither.
        let (Some(reply_to), Some(call)) = (&message.reply_to, message.id) else { return };
        let fault = Fault::new(Code::Unavailable, "cannot run the request: too many wait");
        let inbox = String::from_utf8_lossy(reply_to.as_bytes());
        // An inbox that is no address belongs to no caller.
        let refusal = Message::failed(fault);
        if let Ok(mut event) = InstanceEvent::outcome(refusal, (&inbox, call), &self.instance) {
            event.transient = true;
            event.deadline = Some(Deadline::after(REFUSE_MAX));
            // Full or closed: the caller waits until its deadline.
            drop(self.queue.try_send(event));
        }
    }
}

async fn send(sender: Sender, mut refused: mpsc::Receiver<Message>) {
    while let Some(event) = refused.recv().await {
        let remaining = event.deadline.map_or(REFUSE_MAX, Deadline::remaining);
        if remaining.is_zero() {
            continue;
        }
        if let Err(error) = sender.send_within(event, remaining).await {
            if is_closed(&error) {
                return;
            }
            tracing::debug!(?error, "cannot refuse a broadcast");
        }
    }
}

fn is_closed(error: &Error) -> bool {
    error.kind() == ErrorKind::Closed
}

/// The number of refusals that wait to be sent.
const QUEUE_MAX: usize = 1_024;
/// The longest time that a refusal waits.
const REFUSE_MAX: Duration = Duration::from_secs(5);
