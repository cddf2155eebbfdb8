//! The sending and receiving halves of requesters.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use lapin::types::ShortString;
use polywire_core::message::CallId;
use polywire_core::transport::{
    Asked, Delivery, Inbound, Outbound, Receiver, Sender, Sending, ServerAddress, ServerNotice,
};
use polywire_core::{Address, ErrorKind, Message, Result};

use crate::batching::call_batching::CallBatching;
use crate::batching::joined_calls::JoinedCalls;
use crate::common_errors::queue_full;
use crate::consuming::reply_consumer::ReplyConsumer;
use crate::consuming::requester_streams::{RequesterReplies, ServerNotices};
use crate::publishing::confirmed_publisher::ConfirmedPublisher;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::{Correlation, OutgoingMessage, native};

/// Opens both halves of a requester of `service`.
///
/// The request queue is up to the servers: without it, requests are
/// [`Unroutable`](polywire_core::ErrorKind::Unroutable).
///
/// # Errors
///
/// [`Closed`](polywire_core::ErrorKind::Closed) if the transport is closed, and
/// [`Denied`](polywire_core::ErrorKind::Denied) if the broker refuses the connection for replies.
pub(crate) fn open(shared: &Arc<AmqpShared>, service: &Address) -> Result<(Sender, Receiver)> {
    let queue = shared.config.queues.queue(native::request_queue(service)?);
    let (number, replies, notices) = shared.replies.register()?;
    let joins = shared.config.batching == CallBatching::Auto && !shared.replies.is_direct();
    let joined = if joins { JoinedCalls::new(shared, &queue, number)? } else { None };
    if let Some(joined) = &joined {
        let batches: Weak<JoinedCalls> = Arc::downgrade(joined);
        shared.replies.set_batches(number, batches);
    }
    let cancel_key = native::cancel_key(service)?;
    // Starts the task that sends cancels now: calls may be dropped outside of a runtime.
    shared.cancel_sender();
    let requests = RequestSender { shared: shared.clone(), queue, cancel_key, number, joined };
    let replies = ReplyReceiver { replies, notices, consumer: shared.replies.clone(), number };
    Ok((Sender::new(requests), Receiver::new(replies)))
}

/// A way to publish.
type Publish = for<'a> fn(&'a ConfirmedPublisher, OutgoingMessage) -> Sending<'a>;

/// The sender of requests to one service.
struct RequestSender {
    shared: Arc<AmqpShared>,
    /// Queue of the service, which a requester never declares.
    queue: QueueSpec,
    /// Routing key of the cancels for the service.
    cancel_key: ShortString,
    /// Number of the requester, which is part of its correlation ids.
    number: u64,
    /// The calls that leave in batches, if they may.
    joined: Option<Arc<JoinedCalls>>,
}

impl RequestSender {
    /// Announces to the servers that the caller does not wait any more.
    ///
    /// With direct replies, nothing is sent.
    fn cancel(&self, call: CallId, is_expired: bool) {
        if let Some(joined) = &self.joined {
            joined.abandoned(call);
        }
        let Some(cancels) = self.shared.cancel_sender() else { return };
        let call = Correlation { requester: self.number, call };
        let reply_address = self.shared.replies.reply_address();
        match native::encode_cancel(&self.cancel_key, &reply_address, call, is_expired) {
            Ok(cancel) => cancels.send(cancel),
            Err(error) => tracing::debug!(?error, "cannot cancel a call at its server"),
        }
    }

    /// Sends a call with others, or returns the message, which has to leave alone.
    fn join(&self, message: Box<Message>) -> Result<Sending<'_>, Box<Message>> {
        match &self.joined {
            Some(joined)
                if self.shared.check_message(&message).is_ok()
                    && self.shared.replies.check_available().is_ok() =>
            {
                joined.send(message)
            }
            _ => Err(message),
        }
    }

    /// Sends a request as a message of its own.
    fn send_alone(&self, mut message: Message, publish: Publish) -> Sending<'_> {
        message.priority = message.priority.or(self.queue.options.default_priority());
        let AmqpShared { config, replies, publisher, .. } = &*self.shared;
        let request = self.shared.check_message(&message).and_then(|()| {
            replies.check_available()?;
            let reply_address = replies.reply_address();
            let (queue, persistent) = (&self.queue.name, config.persistent);
            native::encode_request(queue, &reply_address, self.number, message, persistent)
        });
        let sending = match request {
            Ok(request) => publish(publisher, request),
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

impl Outbound for RequestSender {
    fn abandon(&self, call: CallId) {
        self.cancel(call, false);
    }

    fn expire(&self, call: CallId) {
        self.cancel(call, true);
    }

    /// Publishes the answer in a task of its own. Outside of a runtime, the answer is lost, and the
    /// server asks again.
    fn answer(&self, asked: &Asked, is_permitted: bool) {
        let reply_address = self.shared.replies.reply_address();
        match native::encode_answer(asked, self.number, &reply_address, is_permitted) {
            Ok(answer) => self.shared.publish_later(answer, |_, _| {}),
            Err(error) => tracing::debug!(?error, "cannot answer a server"),
        }
    }

    /// Publishes a check that the broker returns if the queue of the server is gone. The requester
    /// then gets the notice of that.
    fn check(&self, server: &ServerAddress) {
        let (number, checked) = (self.number, server.clone());
        match native::encode_check(server) {
            Ok(check) => self.shared.publish_later(check, move |shared, sent| {
                // The queue of a server is gone with the server's connection.
                if sent.is_err_and(|error| error.kind() == ErrorKind::Unroutable) {
                    shared.replies.server_is_gone(number, checked);
                }
            }),
            Err(error) => tracing::debug!(?error, "cannot check a server"),
        }
    }

    fn send(&self, message: Message) -> Sending<'_> {
        match self.joined {
            Some(_) => self.send_boxed(Box::new(message)),
            None => self.send_alone(message, ConfirmedPublisher::publish),
        }
    }

    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        self.join(message)
            .unwrap_or_else(|message| self.send_alone(*message, ConfirmedPublisher::publish))
    }

    /// The confirm of a request that leaves alone and has a reply wakes no task.
    fn send_call(&self, message: Box<Message>) -> Sending<'_> {
        self.join(message).unwrap_or_else(|message| {
            self.send_alone(*message, ConfirmedPublisher::publish_quietly)
        })
    }
}

/// The replies to one requester. Dropping it discards the replies that still arrive.
struct ReplyReceiver {
    replies: RequesterReplies,
    notices: ServerNotices,
    consumer: Arc<ReplyConsumer>,
    number: u64,
}

impl Stream for ReplyReceiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.replies.poll_recv(cx)
    }
}

impl Inbound for ReplyReceiver {
    fn stop(mut self: Pin<&mut Self>) {
        self.replies.close();
    }

    fn poll_notice(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        match self.notices.poll_recv(cx) {
            Poll::Ready(Some(notice)) => Poll::Ready(notice),
            _ => Poll::Pending,
        }
    }
}

impl Drop for ReplyReceiver {
    fn drop(&mut self) {
        self.consumer.unregister(self.number);
    }
}
