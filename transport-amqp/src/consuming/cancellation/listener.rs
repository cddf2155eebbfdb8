//! The server's side of cancellations.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::transport::{Abandoned, Answer};
use polywire_core::{Address, Error, ErrorKind, Result, Window};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;

use crate::connection::backoff::ReconnectBackoff;
use crate::connection::channel_setup_guard::ChannelSetupGuard;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::control_queue;
use crate::engine_error::failed;
use crate::lock::lock;
use crate::tasks::Tasks;
use crate::wire::native;

/// Messages of the clients of a service to one server.
///
/// The stream of the server's deliveries owns the value. The listener ends when the stream is
/// dropped.
pub(crate) struct Control {
    /// Calls that their clients have abandoned.
    pub(crate) abandoned: mpsc::Receiver<Abandoned>,
    /// Answers to the questions of the server.
    pub(crate) answers: mpsc::Receiver<Answer>,
    /// The queue of the server, to which clients answer.
    pub(crate) queue: ControlQueue,
    /// For answers that the server finds out by itself.
    pub(crate) answer: mpsc::Sender<Answer>,
}

/// The name of the queue that a server listens to; `None` while it does not listen. Clones share
/// it.
///
/// The listener sets the name after each registration, and clears it when the channel is lost.
#[derive(Clone, Default)]
pub(crate) struct ControlQueue(Arc<Mutex<Option<ShortString>>>);

impl ControlQueue {
    /// Returns the name of the queue.
    pub(crate) fn name(&self) -> Option<ShortString> {
        lock(&self.0).clone()
    }

    fn set(&self, name: Option<ShortString>) {
        *lock(&self.0) = name;
    }
}

/// Starts to listen to the clients of `service`: to their cancellations, and to their answers to
/// the questions of at most `window` requests. Listening has begun, or failed for now, when this
/// returns; it ends when the receiver of cancellations is dropped.
///
/// If the broker denies access to the exchange, a warning is logged, and the server works without
/// cancellations.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] if the name of the service is too long, and [`ErrorKind::Config`] if the
/// connection has no channel left.
pub(crate) async fn listen(
    connection: &Arc<SupervisedConnection>,
    tasks: &Tasks,
    service: &Address,
    window: Window,
) -> Result<Control> {
    let key = native::cancel_key(service)?;
    let reserved =
        connection.reserve_channels(1).map_err(|error| error.with("service", service))?;
    let ((sender, abandoned), (answer, answers)) =
        (mpsc::channel(QUEUED_MAX), mpsc::channel(QUEUED_MAX));
    let (started, ready) = oneshot::channel();
    let queue = ControlQueue::default();
    let listener = CancelListener {
        connection: connection.clone(),
        key,
        sender,
        answers: answer.clone(),
        queue: queue.clone(),
        queued_max: QUEUED_MAX + 2 * window.messages(),
    };
    let running = async move {
        let _reserved = reserved;
        listener.run(started).await;
    };
    tasks.add(tokio::spawn(running).abort_handle());
    // An error means that the transport was closed meanwhile, which the caller finds out by itself.
    let _ = ready.await;
    Ok(Control { abandoned, answers, queue, answer })
}

/// Consumer of cancellations and answers for one server.
///
/// A task of the transport runs the listener, and holds one reserved channel until its end.
struct CancelListener {
    /// Connection for the channel of the listener.
    connection: Arc<SupervisedConnection>,
    /// Routing key of the service's cancellations.
    key: ShortString,
    /// Buffer of the responder.
    sender: mpsc::Sender<Abandoned>,
    /// Answers for the responder.
    answers: mpsc::Sender<Answer>,
    /// Name of the present queue.
    queue: ControlQueue,
    /// The most messages that wait in the queue: 1,024, and two for each request of the window.
    queued_max: usize,
}

impl CancelListener {
    /// Listens until the receiver is dropped or the broker refuses for good.
    async fn run(self, ready: oneshot::Sender<()>) {
        let sender = self.sender.clone();
        tokio::select! {
            () = sender.closed() => {}
            () = self.listen_until_refused(ready) => {}
        }
    }

    /// Listens again after each lost channel. Reports over `ready` the end of the first attempt,
    /// whether it succeeded or not.
    ///
    /// Without access to the exchange, the listener goes on with answers alone, and tries to bind
    /// again after the next lost channel.
    async fn listen_until_refused(self, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut backoff = ReconnectBackoff::new();
        let mut binds = true;
        // Each state is logged once.
        let (mut has_logged_unbound, mut has_logged_refusal) = (false, false);
        loop {
            let consuming = self.connection.unless_lost(self.consume(binds)).await;
            let is_denied = |error: &Error| error.kind() == ErrorKind::Denied;
            if binds && consuming.as_ref().is_err_and(is_denied) {
                // Answers need no exchange.
                let error = consuming.err();
                if !std::mem::replace(&mut has_logged_unbound, true) {
                    tracing::warn!(
                        ?error,
                        "cannot listen to cancellations: handlers run until their deadlines"
                    );
                }
                binds = false;
                continue;
            }
            if let Some(ready) = ready.take() {
                // The opening future may have been dropped.
                let _ = ready.send(());
            }
            match consuming {
                Ok((channel, cancellations)) => {
                    backoff.reset();
                    has_logged_refusal = false;
                    has_logged_unbound &= !binds;
                    self.forward(&channel, cancellations).await;
                    self.queue.set(None);
                    // The access may have been granted meanwhile.
                    binds = true;
                }
                Err(_) if self.connection.refusal().is_some() => return,
                Err(error) if error.is_transient() => {
                    tracing::debug!(?error, "cannot listen to cancellations yet");
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_logged_refusal, true) {
                        tracing::warn!(
                            ?error,
                            "cannot listen to clients: requests that run at most once are refused"
                        );
                    }
                    backoff.slow_down();
                }
            }
            backoff.wait().await;
        }
    }

    /// Declares a queue and consumes it.
    ///
    /// The queue has a new name each time. With `binds` unset, cancellations do not arrive, and
    /// answers do.
    async fn consume(&self, binds: bool) -> Result<(Channel, Consumer)> {
        let setup = ChannelSetupGuard::new(self.connection.channel().await?);
        let channel = setup.channel();
        let cannot = |error| failed("cannot listen to cancellations", &error);
        let declaring = control_queue::declare(channel, Some(self.queued_max));
        let name = declaring.await.map_err(cannot)?;
        if binds {
            // Once, without later checks: the queue is exclusive, so no other connection can remove
            // the binding, and `amq.direct` cannot be deleted.
            let (options, none) = (QueueBindOptions::default(), FieldTable::default());
            let exchange = native::CANCEL_EXCHANGE.into();
            let bound =
                channel.queue_bind(name.clone(), exchange, self.key.clone(), options, none).await;
            bound.map_err(cannot)?;
        }
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, none) = (
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let consumer =
            channel.basic_consume(name.clone(), "".into(), options, none).await.map_err(cannot)?;
        self.queue.set(Some(name));
        Ok((setup.done(), consumer))
    }

    /// Forwards cancellations and acknowledges each, until the channel is lost or the receiver is
    /// dropped.
    ///
    /// While the buffer of the responder is full, the forwarding stops. The prefetch then bounds
    /// the messages in memory. A message of another kind is acknowledged and dropped.
    async fn forward(&self, channel: &Channel, mut cancellations: Consumer) {
        while let Some(Ok(raw)) = cancellations.next().await {
            // The engine's stream takes no part in the budget.
            consume_budget().await;
            let tag = raw.delivery_tag;
            let is_open = if let Some(answer) = native::decode_answer(&raw.properties) {
                self.answers.send(answer).await.is_ok()
            } else if let Some(abandoned) = decode(&raw) {
                self.sender.send(abandoned).await.is_ok()
            } else {
                true
            };
            if !is_open {
                return;
            }
            if channel.basic_ack(tag, BasicAckOptions::default()).await.is_err() {
                return;
            }
        }
    }
}

/// Decodes the call that a cancellation names; `None` for any other message.
fn decode(raw: &Raw) -> Option<Abandoned> {
    if native::is_check(&raw.properties) {
        return None;
    }
    let abandoned = native::decode_cancel(&raw.properties);
    if abandoned.is_none() {
        tracing::debug!("dropped a message that is not a cancellation");
    }
    abandoned
}

/// The most cancellations that wait in the queue at the broker, and in the server. At the broker,
/// the oldest ones are dropped for further ones. In the queue, there is room for the answers to a
/// window of questions, too.
const QUEUED_MAX: usize = 1024;
/// Prefetch: cancellations that the broker sends before the first of them is acknowledged.
const PREFETCH: u16 = 64;
