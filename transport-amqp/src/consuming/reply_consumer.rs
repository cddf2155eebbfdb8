//! Consumer of replies, shared by all requesters of a transport.
//!
//! Each reply carries the number of its requester and the id of its call. The consumer routes by
//! the number; core matches the call. Two modes differ in where replies arrive:
//!
//! - [`ReplyMode::Queue`]: in a reply queue, which the consumer task reads over the consuming
//!   connection. The queue outlives a lost connection, and so do the replies in it.
//! - [`ReplyMode::Direct`]: on the channel that publishes the requests. There is no task; the
//!   publisher asks for [`consume_direct`](ReplyConsumer::consume_direct) on each new channel.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::transport::{Asked, LogThrottle, ServerAddress, ServerNotice};
use polywire_core::{Error, ErrorKind, Limits, Result};
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::config::Config;
use crate::connection::backoff::ReconnectBackoff;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::broker_refusal_timer::RefusalTimer;
use crate::consuming::cancellation::sender::CancelSender;
use crate::consuming::open_requesters::OpenRequesters;
use crate::consuming::reply_mode::ReplyMode;
use crate::consuming::reply_queue;
use crate::consuming::requester_streams::{BatchEvents, RequesterReplies, ServerNotices};
use crate::consuming::route_replies;
use crate::engine_error::failed;
use crate::lock::lock;
use crate::topology::declare_queue::declare;
use crate::topology::queue_spec::QueueSpec;
use crate::unique_number::unique;
use crate::wire::native;

/// The reply queue of a transport, or its direct replies, and the requesters to route replies to.
pub(crate) struct ReplyConsumer {
    /// Not declared for direct replies. Replaced by a queue of another name if the broker cannot
    /// declare this one again.
    queue: Mutex<QueueSpec>,
    /// Set if the queue has the name of its client, which another process of the client will use.
    is_named: bool,
    /// Way for replies to arrive.
    mode: ReplyMode,
    /// Reply address of all requests with direct replies.
    direct_address: ShortString,
    /// Requesters to route to.
    requesters: OpenRequesters,
    /// Set with the first requester, unless replies are direct. Sends the denials in place of
    /// requesters that are gone, too.
    cancel_sender: OnceLock<CancelSender>,
    /// The refusal that ended the consumer, after which no more replies arrive.
    refusal: OnceLock<Error>,
    /// Time of consecutive refusals of the queue after which no more replies arrive.
    give_up_after: Duration,
    /// Limits of each reply.
    limits: Limits,
    /// Throttle for the log line of replies that cannot be decoded.
    undecoded: LogThrottle,
    /// Throttle for the log line of a queue that cannot be consumed.
    unreceived: LogThrottle,
}

impl ReplyConsumer {
    /// Creates the consumer. No queue is declared before [`run`](Self::run).
    pub(crate) fn new(config: &Config) -> Self {
        let named = reply_queue::named(config);
        let is_named = named.is_some();
        // Replies to an earlier process of the client must not answer the calls of this one.
        let first = if is_named { (unique() as u64) >> 1 } else { 0 };
        Self {
            queue: Mutex::new(named.unwrap_or_else(reply_queue::random)),
            is_named,
            mode: config.reply_mode,
            direct_address: DIRECT_REPLY_TO.into(),
            requesters: OpenRequesters::new(first),
            cancel_sender: OnceLock::new(),
            refusal: OnceLock::new(),
            give_up_after: config.give_up_after,
            limits: config.limits,
            undecoded: LogThrottle::new(),
            unreceived: LogThrottle::new(),
        }
    }

    /// Returns whether replies arrive on the channel that publishes the requests.
    pub(crate) fn is_direct(&self) -> bool {
        self.mode == ReplyMode::Direct
    }

    /// Returns the `reply_to` of a request that is sent now.
    pub(crate) fn reply_address(&self) -> ShortString {
        if self.is_direct() { self.direct_address.clone() } else { lock(&self.queue).name.clone() }
    }

    /// Returns whether the reply queue stays for the next process of the client.
    pub(crate) fn is_named(&self) -> bool {
        self.is_named
    }

    /// Returns the current reply queue.
    pub(crate) fn queue(&self) -> QueueSpec {
        lock(&self.queue).clone()
    }

    /// Fails with the broker's refusal if replies can no longer arrive.
    pub(crate) fn check_available(&self) -> Result<()> {
        self.refusal.get().map_or(Ok(()), |refusal| Err(refusal.clone().unsent()))
    }

    /// Registers a requester. Returns its number, its replies, and the notices about its servers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] after close; the broker's refusal if replies can no longer arrive.
    pub(crate) fn register(&self) -> Result<(u64, RequesterReplies, ServerNotices)> {
        self.check_available()?;
        self.requesters.register()
    }

    /// Sets the sender of batches of a requester.
    pub(crate) fn set_batches(&self, requester: u64, batches: Weak<dyn BatchEvents>) {
        self.requesters.set_batches(requester, batches);
    }

    /// Fails one call of a requester, which `error` names.
    pub(crate) fn fail(&self, requester: u64, error: Error) {
        self.requesters.send(requester, Err(error));
    }

    /// Removes a requester. Later replies to its calls are dropped.
    pub(crate) fn unregister(&self, requester: u64) {
        self.requesters.unregister(requester);
    }

    /// Ends the reply streams of all requesters.
    pub(crate) fn close(&self) {
        self.requesters.close();
    }

    /// Notifies a requester that a server is gone. Has no effect if the requester is closed.
    pub(crate) fn server_is_gone(&self, requester: u64, server: ServerAddress) {
        self.requesters.notify(requester, ServerNotice::Gone(server));
    }

    /// Returns the sender of cancellations, which the first call starts. There is none for direct
    /// replies.
    pub(crate) fn cancel_sender(
        &self,
        start: impl FnOnce() -> CancelSender,
    ) -> Option<&CancelSender> {
        (!self.is_direct()).then(|| self.cancel_sender.get_or_init(start))
    }

    /// Decodes a reply, or the question of a server, and routes it to its requester.
    fn route(&self, raw: Raw) {
        if let Some((requester, asked)) = native::decode_question(&raw.properties) {
            if !self.requesters.notify(requester, ServerNotice::Asked(asked.clone())) {
                self.deny(requester, &asked);
            }
            return;
        }
        if let Err(error) = route_replies::route(&self.requesters, raw, &self.limits)
            && let Some(count) = self.undecoded.note()
        {
            tracing::warn!(?error, count, "dropped replies that cannot be decoded");
        }
    }

    /// Denies a call in place of its requester, which is gone. Otherwise the server would hold the
    /// request until it asks no more.
    fn deny(&self, requester: u64, asked: &Asked) {
        // Without a sender, the server asks again.
        let Some(sender) = self.cancel_sender.get() else { return };
        match native::encode_answer(asked, requester, &self.reply_address(), false) {
            Ok(denial) => sender.send(denial),
            Err(error) => tracing::debug!(?error, "cannot answer a server"),
        }
    }

    /// Fails all in-flight calls after the channel of direct replies was lost.
    pub(crate) fn fail_direct_calls(&self) {
        let message = "cannot receive replies: the channel of direct replies was lost";
        self.requesters.fail_all(&Error::new(ErrorKind::RepliesLost, message));
    }

    /// Consumes direct replies over a channel. The returned future routes replies until the channel
    /// is lost.
    pub(crate) async fn consume_direct(
        self: &Arc<Self>,
        channel: &Channel,
    ) -> Result<impl Future<Output = ()> + Send + 'static> {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming = channel.basic_consume(
            self.direct_address.clone(),
            "".into(),
            options,
            FieldTable::default(),
        );
        let mut replies =
            consuming.await.map_err(|error| failed("cannot consume direct replies", &error))?;
        let consumer = self.clone();
        Ok(async move {
            // The engine's queue has no bound, and needs none: core bounds the calls in flight.
            while let Some(Ok(raw)) = replies.next().await {
                consumer.route(raw);
                // The engine's stream takes no part in the budget.
                consume_budget().await;
            }
        })
    }

    /// Consumes the reply queue, on a new channel whenever one is lost. Reports over `ready` the
    /// first registration, or its failure. Ends only after a failed first registration, or after
    /// the broker has refused the connection or the queue for longer than `give_up_after`.
    pub(crate) async fn run(
        self: Arc<Self>,
        connection: Arc<SupervisedConnection>,
        ready: oneshot::Sender<Result<()>>,
    ) {
        let (mut ready, mut backoff) = (Some(ready), ReconnectBackoff::new());
        let mut refusals = RefusalTimer::new(self.give_up_after);
        loop {
            match connection.unless_lost(self.consume(&connection, ready.is_none())).await {
                Ok((channel, replies)) => {
                    backoff.reset();
                    refusals.reset();
                    if let Some(ready) = ready.take() {
                        // The opening future may have been dropped.
                        let _ = ready.send(Ok(()));
                    }
                    reply_queue::receive(&channel, replies, |raw| self.route(raw)).await;
                }
                Err(error) => match (ready.take(), connection.refusal()) {
                    (Some(ready), _) => return ready.send(Err(error)).unwrap_or_default(),
                    (None, Some(refusal)) => {
                        let text = "cannot receive replies: the broker refused to reconnect";
                        return self.refuse(refusal, text);
                    }
                    // The user has lost the rights, say. A name that is in use may be in use by a
                    // lost connection of this client, which ends with its heartbeat.
                    (None, None)
                        if !reply_queue::is_in_use(&error) && refusals.has_expired(&error) =>
                    {
                        let text = "cannot receive replies: the broker refused the reply queue";
                        return self.refuse(error, text);
                    }
                    (None, None) => self.log_failure(&error),
                },
            }
            connection.check_now();
            backoff.wait().await;
        }
    }

    /// Fails all calls, and all later ones with the refusal.
    fn refuse(&self, refusal: Error, text: &'static str) {
        // Set before the calls fail: a call that begins meanwhile either sees the refusal, or is
        // among the calls that fail.
        let refusal = self.refusal.get_or_init(|| refusal).clone();
        self.requesters.fail_all(&Error::new(ErrorKind::RepliesLost, text).with_source(refusal));
    }

    /// Declares and consumes the reply queue. Fails all in-flight calls if the queue has been
    /// deleted since the last time, or is on a node of the cluster that does not answer.
    async fn consume(
        &self,
        connection: &SupervisedConnection,
        again: bool,
    ) -> Result<(Channel, Consumer)> {
        let queue = self.queue();
        if again {
            let channel = connection.channel().await?;
            match timeout(EXISTENCE_MAX, queue.exists(&channel)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    self.lost("cannot receive replies: the reply queue was deleted", &queue);
                }
                Ok(Err(error)) => return Err(error),
                // From RabbitMQ 4 on, a question about a queue on a node that is down has no answer
                // until the node is back.
                Err(_) => {
                    let text = "cannot receive replies: the broker does not answer for the queue";
                    self.lost(text, &queue);
                    self.rename();
                    return Err(Error::new(ErrorKind::DeadlineExceeded, text));
                }
            }
        }
        if let Err(error) = declare(connection, &queue).await {
            if error.kind() == ErrorKind::Config {
                // Brokers before RabbitMQ 4 answer so for a queue on a node that is down.
                self.rename();
            }
            return Err(error);
        }
        let channel = connection.channel().await?;
        let consumer = reply_queue::consume(&channel, &queue, self.is_named).await?;
        Ok((channel, consumer))
    }

    /// Logs that replies cannot be received yet, as a warning every ten seconds at most.
    fn log_failure(&self, error: &Error) {
        match self.unreceived.note() {
            Some(count) => tracing::warn!(?error, count, "cannot consume replies yet"),
            None => tracing::debug!(?error, "cannot consume replies yet"),
        }
    }

    /// Fails all in-flight calls, whose replies would go to this queue.
    fn lost(&self, text: &'static str, queue: &QueueSpec) {
        self.requesters
            .fail_all(&Error::new(ErrorKind::RepliesLost, text).with("queue", &queue.name));
    }

    /// Takes a new queue, since the name of this one stays taken until its node is back. A client
    /// that keeps its name waits for the node.
    fn rename(&self) {
        if !self.is_named {
            *lock(&self.queue) = reply_queue::random();
        }
    }
}

/// RabbitMQ's pseudo-queue for direct replies.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// The longest wait for the answer whether the reply queue exists. Calls that wait for replies fail
/// after it, and another queue is taken.
const EXISTENCE_MAX: Duration = Duration::from_secs(5);
