//! Consumer of replies, shared by all requesters of a transport.
//!
//! Each reply carries the number of its requester and the id of its call. The consumer routes by
//! the number; core matches the call. Two modes differ in where replies arrive:
//!
//! - [`ReplyMode::Queue`]: in a reply queue, which the consumer task reads over the consuming
//!   connection. The queue outlives a lost connection, and so do the replies in it.
//! - [`ReplyMode::Direct`]: on the channel that publishes the requests. There is no task; the
//!   publisher asks for [`consume_direct`](ReplyConsumer::consume_direct) on each new channel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::transport::{Delivery, LogThrottle, ServerNotice};
use polywire_core::{Error, ErrorKind, Limits, Result};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::config::Config;
use crate::connection::backoff::Backoff;
use crate::connection::supervised::SupervisedConnection;
use crate::consuming::reply_mode::ReplyMode;
use crate::consuming::reply_queue;
use crate::error::{closed, failed, lock};
use crate::topology::declare_queue::declare;
use crate::topology::queue::QueueSpec;
use crate::unique_number::unique;
use crate::wire::{Correlation, native};

/// Stream of replies for one requester. Unbounded, because each item ends one call of the
/// requester, and core bounds the calls in flight.
pub(crate) type RequesterReplies = mpsc::UnboundedReceiver<Result<Delivery>>;

/// Stream of notices about the servers of one requester.
pub(crate) type ServerNotices = mpsc::Receiver<ServerNotice>;

/// The sending ends of a requester's streams.
struct RequesterStreams {
    replies: mpsc::UnboundedSender<Result<Delivery>>,
    notices: mpsc::Sender<ServerNotice>,
}

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
    /// Open requesters by number.
    requesters: Mutex<FxHashMap<u64, RequesterStreams>>,
    /// Number of the next requester.
    next_requester: AtomicU64,
    /// Set on close, under the lock of `requesters`, so that no requester registers afterwards.
    closed: AtomicBool,
    /// The refusal that ended the consumer, after which no more replies arrive.
    refusal: OnceLock<Error>,
    /// Limits of each reply.
    limits: Limits,
    /// Throttle for the log line of replies that cannot be decoded.
    undecoded: LogThrottle,
    /// Throttle for the log line of a queue that cannot be consumed.
    unreceived: LogThrottle,
    /// Number of replies to requesters that are closed, or of an earlier process.
    unknown: AtomicU64,
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
            requesters: Mutex::default(),
            next_requester: AtomicU64::new(first),
            unknown: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            refusal: OnceLock::new(),
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
        let (sender, replies) = mpsc::unbounded_channel();
        let (notify, notices) = mpsc::channel(NOTICES_MAX);
        self.check_available()?;
        let number = self.next_requester.fetch_add(1, Ordering::Relaxed);
        let mut requesters = lock(&self.requesters);
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        requesters.insert(number, RequesterStreams { replies: sender, notices: notify });
        Ok((number, replies, notices))
    }

    /// Removes a requester. Later replies to its calls are dropped.
    pub(crate) fn unregister(&self, requester: u64) {
        lock(&self.requesters).remove(&requester);
    }

    /// Ends the reply streams of all requesters.
    pub(crate) fn close(&self) {
        let mut requesters = lock(&self.requesters);
        self.closed.store(true, Ordering::Release);
        requesters.clear();
    }

    /// Sends a reply, or the error of one call, to a requester.
    fn send(&self, requester: u64, item: Result<Delivery>) {
        let requesters = lock(&self.requesters);
        let is_sent =
            requesters.get(&requester).is_some_and(|streams| streams.replies.send(item).is_ok());
        if !is_sent {
            let count = self.unknown.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::debug!(requester, count, "dropped a reply: its requester is closed");
        }
    }

    /// Notifies a requester. Beyond 1,024 notices that it has not read, further ones are dropped:
    /// servers repeat their questions, and core its checks.
    pub(crate) fn notify(&self, requester: u64, notice: ServerNotice) {
        let requesters = lock(&self.requesters);
        if let Some(streams) = requesters.get(&requester)
            && streams.notices.try_send(notice).is_err()
        {
            tracing::debug!(requester, "dropped a notice: too many are queued");
        }
    }

    /// Decodes a reply, or the question of a server, and routes it to its requester.
    fn route(&self, raw: Raw) {
        if let Some((requester, asked)) = native::decode_question(&raw.properties) {
            return self.notify(requester, ServerNotice::Asked(asked));
        }
        let failure = match native::decode_reply(raw, &self.limits) {
            Ok((Correlation { requester, .. }, message)) => {
                return self.send(requester, Ok(Delivery::settled(message)));
            }
            Err(failure) => failure,
        };
        match failure.correlation {
            Some(Correlation { requester, call }) => {
                self.send(requester, Err(failure.error.with_call(call)));
            }
            None => {
                if let Some(count) = self.undecoded.note() {
                    let error = failure.error;
                    tracing::warn!(?error, count, "dropped replies that cannot be decoded");
                }
            }
        }
    }

    /// Fails the in-flight calls of all requesters.
    fn fail_all(&self, error: &Error) {
        for requester in lock(&self.requesters).values() {
            // A requester that is closed has no calls.
            let _ = requester.replies.send(Err(error.clone()));
        }
    }

    /// Fails all in-flight calls after the channel of direct replies was lost.
    pub(crate) fn fail_direct_calls(&self) {
        let message = "cannot receive replies: the channel of direct replies was lost";
        self.fail_all(&Error::new(ErrorKind::RepliesLost, message));
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
    /// the broker's final refusal.
    pub(crate) async fn run(
        self: Arc<Self>,
        connection: Arc<SupervisedConnection>,
        ready: oneshot::Sender<Result<()>>,
    ) {
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        loop {
            match connection.unless_lost(self.consume(&connection, ready.is_none())).await {
                Ok((channel, replies)) => {
                    backoff.reset();
                    if let Some(ready) = ready.take() {
                        // The opening future may have been dropped.
                        let _ = ready.send(Ok(()));
                    }
                    reply_queue::receive(&channel, replies, |raw| self.route(raw)).await;
                }
                Err(error) => match ready.take() {
                    Some(ready) => return ready.send(Err(error)).unwrap_or_default(),
                    None if let Some(refusal) = connection.refusal() => {
                        // Set before the calls fail: a call that begins meanwhile either sees the
                        // refusal, or is among the calls that fail.
                        let refusal = self.refusal.get_or_init(|| refusal).clone();
                        let error = Error::new(
                            ErrorKind::RepliesLost,
                            "cannot receive replies: the broker refused to reconnect",
                        );
                        return self.fail_all(&error.with_source(refusal));
                    }
                    None => self.log_failure(&error),
                },
            }
            connection.check_now();
            backoff.wait().await;
        }
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
        self.fail_all(&Error::new(ErrorKind::RepliesLost, text).with("queue", &queue.name));
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
/// The most notices that wait for a requester to read them.
const NOTICES_MAX: usize = 1024;
/// The longest wait for the answer whether the reply queue exists. Calls that wait for replies fail
/// after it, and another queue is taken.
const EXISTENCE_MAX: Duration = Duration::from_secs(5);
