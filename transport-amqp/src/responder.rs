//! The responder of a service.
//!
//! Requests are consumed from the queue of the service, which all its servers share. Replies go to
//! the reply address of each request. A listener receives the cancellations of the service's
//! clients.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::transport::{Answer, Outbound, Question, Receiver, Sender, Sending};
use polywire_core::{Address, Code, ErrorKind, Fault, Limits, Message, Result, Window};
use tokio::sync::mpsc;

use crate::connection::supervised::SupervisedConnection;
use crate::consuming::cancellation::listener::{ControlQueue, listen};
use crate::consuming::consumer;
use crate::consuming::consumer_source::ConsumerSource;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::Shared;
use crate::topology::queue::QueueSpec;
use crate::wire::{DecodeFailure, native};

/// Opens a responder of `service`. Its consumer is registered when this returns.
///
/// # Errors
///
/// Those of declaring and consuming the queue of the service. Dropping the future stops the
/// consumer.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    service: &Address,
    window: Window,
) -> Result<(Sender, Receiver)> {
    let queue = shared.config.queues.queue(native::request_queue(service)?);
    queue.check_names()?;
    // Before the first request, so that each request can be cancelled.
    let control = listen(&shared.consuming_connection, &shared.tasks, service, window).await?;
    let source = Arc::new(RequestSource { name: service.clone(), queue });
    let (shared, control_queue, answer) =
        (shared.clone(), control.queue.clone(), control.answer.clone());
    let receiver = consumer::open_with_control(&shared, source, window, Some(control)).await?;
    Ok((Sender::new(ReplySender { shared, control_queue, answer }), receiver))
}

/// Sends replies to the reply addresses of their requests.
///
/// A reply is published at once, also while the consumer of the requests is lost. Core acknowledges
/// the request after the confirm.
struct ReplySender {
    shared: Arc<Shared>,
    /// The queue for answers to the questions of this server.
    control_queue: ControlQueue,
    /// For the answer in place of a caller that is gone.
    answer: mpsc::Sender<Answer>,
}

impl Outbound for ReplySender {
    fn send(&self, message: Message) -> Sending<'_> {
        let Shared { config, publisher, .. } = &*self.shared;
        let reply = self.shared.check_message(&message);
        match reply.and_then(|()| native::encode_reply(message, config.persistent)) {
            Ok(reply) => publisher.publish(reply),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Returns false for a caller that cannot answer: with direct replies, of an earlier version,
    /// or of another program.
    ///
    /// If the caller's queue is gone, the answer is a denial.
    fn ask(&self, question: &Question) -> bool {
        if !native::can_be_asked(&question.reply_to) {
            return false;
        }
        // Without a queue for the answer, the next repetition asks.
        let queue = self.control_queue.name();
        let asking = queue.and_then(|queue| native::encode_question(question, &queue));
        if let Some(asking) = asking {
            let (denied, answer) = (Answer::new(question.clone(), false), self.answer.clone());
            self.shared.publish_later(asking, move |_, sent| {
                if sent.is_err_and(|error| error.kind() == ErrorKind::Unroutable) {
                    // The caller is gone. Without room, the question is repeated.
                    let _ = answer.try_send(denied);
                }
            });
        }
        true
    }
}

/// The queue of a service.
struct RequestSource {
    name: Address,
    queue: QueueSpec,
}

impl ConsumerSource for RequestSource {
    // Clients notice by their deadlines.
    const REPORTS_LOSS: bool = false;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Responder, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, _: &SupervisedConnection, _: bool) -> Result<()> {
        Ok(())
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        native::decode_request(raw, limits).or_else(|failure| request_to_reject(*failure))
    }

    fn requeue_mode(&self) -> RequeueMode {
        // The broker requeues to the front of the queue, since a client waits.
        RequeueMode::BrokerOrDeclined
    }

    async fn close(&self, _: &Shared) {}
}

/// Returns the request that cannot be decoded with a fault, with which the server replies. Without
/// a reply address, returns the error.
fn request_to_reject(failure: DecodeFailure) -> Result<Message> {
    let DecodeFailure { mut message, error, .. } = failure;
    if message.reply_to.is_none() {
        return Err(error);
    }
    let fault = Fault::new(Code::InvalidArguments, format!("cannot decode the request: {error}"));
    message.fault = Some(Box::new(fault));
    Ok(message)
}
