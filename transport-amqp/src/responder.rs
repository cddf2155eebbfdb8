//! The responder of a service.
//!
//! Requests are consumed from the queue of the service, which all its servers share. Replies go to
//! the reply address of each request. A listener receives the cancellations of the service's
//! clients.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::transport::{Answer, GetOnSent, Outbound, Question, Receiver, Sender, Sending};
use polywire_core::{Address, Code, ErrorKind, Fault, Limits, Message, Result, Window};
use tokio::sync::mpsc;

use crate::batching::call_batching::CallBatching;
use crate::batching::joined_replies::JoinedReplies;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::batch_bounds::BatchBounds;
use crate::consuming::batch_lane::{AnnouncedCalls, OnBatchClient};
use crate::consuming::batched_deliveries::BatchSetup;
use crate::consuming::cancellation::listener::{ControlQueue, listen};
use crate::consuming::consumed_queue::ConsumedQueue;
use crate::consuming::open_consumer;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::{DecodeFailure, OutgoingMessage, native};

/// Opens a responder of `service`. Its consumer is registered when this returns.
///
/// # Errors
///
/// Those of declaring and consuming the queue of the service. Dropping the future stops the
/// consumer.
pub(crate) async fn open(
    shared: &Arc<AmqpShared>,
    service: &Address,
    window: Window,
) -> Result<(Sender, Receiver)> {
    let queue = shared.config.queues.queue(native::request_queue(service)?);
    queue.check_names()?;
    // Before the first request, so that each request can be cancelled.
    let control = listen(&shared.consuming_connection, &shared.tasks, service, window).await?;
    let announced = AnnouncedCalls::default();
    let joined = JoinedReplies::new(shared.clone(), announced.clone());
    let setup = batch_setup(shared, &queue, window, announced.clone(), joined.clone())?;
    let joined = setup.is_some().then_some(joined);
    let consumed = Arc::new(RequestQueue { name: service.clone(), queue });
    let (shared, control_queue, answer) =
        (shared.clone(), control.queue.clone(), control.answer.clone());
    let receiver = open_consumer::open_server(&shared, consumed, window, control, setup).await?;
    let replies = ReplySender { shared, control_queue, answer, announced, joined };
    Ok((Sender::new(replies), receiver))
}

/// Returns the settings for batches of calls. `None` if the calls of the service come one by one.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] if the name of the queue of batches is too long for AMQP.
fn batch_setup(
    shared: &AmqpShared,
    queue: &QueueSpec,
    window: Window,
    announced: AnnouncedCalls,
    joined: Arc<JoinedReplies>,
) -> Result<Option<BatchSetup>> {
    if shared.config.batching == CallBatching::Off {
        return Ok(None);
    }
    let (Some(bounds), Some(queue)) = (BatchBounds::of(window), queue.batches_queue()?) else {
        return Ok(None);
    };
    let on_client: OnBatchClient = Box::new(move |address| joined.note_client(address));
    Ok(Some(BatchSetup { queue, bounds, announced, on_client }))
}

/// Sends replies to the reply addresses of their requests.
///
/// A reply is published at once, also while the consumer of the requests is lost. Core acknowledges
/// the request after the confirm.
struct ReplySender {
    shared: Arc<AmqpShared>,
    /// The queue for answers to the questions of this server.
    control_queue: ControlQueue,
    /// For the answer in place of a caller that is gone.
    answer: mpsc::Sender<Answer>,
    /// The number of calls that batches may hold, for clients.
    announced: AnnouncedCalls,
    /// The replies that leave in batches, if the server reads batches.
    joined: Option<Arc<JoinedReplies>>,
}

impl ReplySender {
    /// Sends a reply with others, if its client reads batches, or returns the reply, which has to
    /// leave alone.
    fn join(&self, reply: Box<Message>) -> Result<Sending<'_>, Box<Message>> {
        match &self.joined {
            Some(joined) if self.shared.check_message(&reply).is_ok() => joined.send(reply),
            _ => Err(reply),
        }
    }

    /// Encodes a reply that is a message of its own.
    fn encode(&self, message: Message) -> Result<OutgoingMessage> {
        self.shared.check_message(&message)?;
        let reply = native::encode_reply(message, self.shared.config.persistent)?;
        Ok(native::announce(reply, self.announced.load(Ordering::Relaxed)))
    }

    /// Sends a reply as a message of its own.
    fn send_alone(&self, message: Message) -> Sending<'_> {
        match self.encode(message) {
            Ok(reply) => self.shared.publisher.publish(reply),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

impl Outbound for ReplySender {
    fn send(&self, message: Message) -> Sending<'_> {
        match self.joined {
            Some(_) => self.send_boxed(Box::new(message)),
            None => self.send_alone(message),
        }
    }

    fn send_boxed(&self, message: Box<Message>) -> Sending<'_> {
        self.join(message).unwrap_or_else(|message| self.send_alone(*message))
    }

    /// A reply that leaves with others is waited for by its sender.
    fn send_then<'a>(&'a self, message: Box<Message>, then: GetOnSent<'_>) -> Sending<'a> {
        let message = match self.join(message) {
            Ok(sending) => return sending,
            Err(message) => message,
        };
        match self.encode(*message) {
            Ok(reply) => self.shared.publisher.publish_then(reply, then),
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
struct RequestQueue {
    name: Address,
    queue: QueueSpec,
}

impl ConsumedQueue for RequestQueue {
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

    async fn close(&self, _: &AmqpShared) {}
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
