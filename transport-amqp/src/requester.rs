//! The requester of a service.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use lapin::types::ShortString;
use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Message, Result};

use crate::consuming::replies::{ReplyConsumer, RequesterReplies};
use crate::error::queue_full;
use crate::shared::Shared;
use crate::topology::queue::QueueSpec;
use crate::wire::{Correlation, Native, Wire};

/// Opens a calling end of `service`.
pub(crate) fn open(shared: &Arc<Shared>, service: &Address) -> Result<(Sender, Receiver)> {
    let queue = shared.config.queues.queue(Native.request_queue(service)?);
    let (number, replies) = shared.replies.register()?;
    let abandoned_key = Native.abandoned_key(service)?;
    // While there is a runtime: calls may be dropped outside of one.
    shared.cancel_sender();
    let requests = Requests { shared: shared.clone(), queue, abandoned_key, number };
    let replies = Replies { replies, consumer: shared.replies.clone(), number };
    Ok((Sender::new(requests), Receiver::new(replies)))
}

/// The sending half.
struct Requests {
    shared: Arc<Shared>,
    queue: QueueSpec,
    abandoned_key: ShortString,
    number: u64,
}

impl Outbound for Requests {
    fn abandon(&self, call: CallId) {
        let Some(cancellations) = self.shared.cancel_sender() else { return };
        let correlation = Correlation { requester: self.number, call };
        let reply_address = self.shared.replies.reply_address();
        match Native.encode_abandoned(&self.abandoned_key, &reply_address, correlation) {
            Ok(cancellation) => cancellations.send(cancellation),
            Err(error) => tracing::debug!(?error, "cannot cancel a call at its server"),
        }
    }

    fn send(&self, message: Message) -> Sending<'_> {
        let Shared { config, replies, publisher, .. } = &*self.shared;
        let deadline = message.deadline;
        let publishing = self.shared.check_message(&message).and_then(|()| {
            replies.check_available()?;
            Native.encode_request(
                &self.queue.name,
                &replies.reply_address(),
                self.number,
                message,
                config.persistent,
            )
        });
        let sending = match publishing {
            Ok(publishing) => publisher.publish(publishing, deadline),
            Err(error) => return Sending::ready(Err(error)),
        };
        if !self.queue.options.rejects_overflow() {
            return sending;
        }
        Sending::later(async move {
            sending.await.map_err(|error| queue_full(self.queue.name.as_str(), error))
        })
    }
}

/// The receiving half.
struct Replies {
    replies: RequesterReplies,
    consumer: Arc<ReplyConsumer>,
    number: u64,
}

impl Stream for Replies {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.replies.poll_recv(cx)
    }
}

impl Inbound for Replies {
    fn stop(mut self: Pin<&mut Self>) {
        self.replies.close();
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.consumer.unregister(self.number);
    }
}
