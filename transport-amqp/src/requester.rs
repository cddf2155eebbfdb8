//! The calling end, and the reply queue that all calling ends of a transport share.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as Raw;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Error, ErrorKind, Limits, Message, Result};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::error::{closed, failed, full, lock};
use crate::line::Line;
use crate::seat::acknowledge;
use crate::session::Session;
use crate::topology::Queue;
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{Correlation, Native, Wire};
use crate::{QueueKind, ReplyMode};

/// Opens a calling end of `service`.
pub(crate) fn open(transport: &Arc<Inner>, service: &Address) -> Result<(Sender, Receiver)> {
    let queue = transport.config.queues.kept(Native.request_queue(service)?);
    let (number, replies) = transport.mailroom.open_box()?;
    let abandoned_key = Native.abandoned_key(service)?;
    // While there is a runtime: calls may be dropped outside of one.
    transport.words();
    let requests = Requests { transport: transport.clone(), queue, abandoned_key, number };
    let replies = Replies { replies, mailroom: transport.mailroom.clone(), number };
    Ok((Sender::new(requests), Receiver::new(replies)))
}

/// The sending half.
struct Requests {
    transport: Arc<Inner>,
    queue: Queue,
    abandoned_key: ShortString,
    number: u64,
}

impl Outbound for Requests {
    fn abandon(&self, call: CallId) {
        let Some(words) = self.transport.words() else { return };
        let correlation = Correlation { requester: self.number, call };
        let reply_queue = self.transport.mailroom.reply_to();
        match Native.encode_abandoned(&self.abandoned_key, &reply_queue, correlation) {
            Ok(word) => words.leave(word),
            Err(error) => tracing::debug!(?error, "cannot tell that a caller has stopped waiting"),
        }
    }

    fn send(&self, message: Message) -> Sending<'_> {
        let Inner { config, mailroom, lines, .. } = &*self.transport;
        let deadline = message.deadline;
        let publishing = self.transport.check(&message).and_then(|()| {
            mailroom.check()?;
            Native.encode_request(
                &self.queue.name,
                &mailroom.reply_to(),
                self.number,
                message,
                config.persistent,
            )
        });
        let sending = match publishing {
            Ok(publishing) => lines.publish(publishing, deadline),
            Err(error) => return Sending::ready(Err(error)),
        };
        if !self.queue.options.rejects() {
            return sending;
        }
        Sending::later(async move {
            sending.await.map_err(|error| full(self.queue.name.as_str(), error))
        })
    }
}

/// The receiving half.
struct Replies {
    replies: mpsc::UnboundedReceiver<Result<Delivery>>,
    mailroom: Arc<Mailroom>,
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
        lock(&self.mailroom.boxes).remove(&self.number);
    }
}

/// Where replies come in, and a box for each calling end.
pub(crate) struct Mailroom {
    /// Which is not made if replies are direct, and gets another name if it cannot be had again
    /// under its own.
    queue: Mutex<Queue>,
    mode: ReplyMode,
    direct: ShortString,
    /// Unbounded, because each item ends one call of its requester, whose calls in flight core
    /// bounds.
    boxes: Mutex<FxHashMap<u64, mpsc::UnboundedSender<Result<Delivery>>>>,
    last: AtomicU64,
    closed: AtomicBool,
    /// Why no more replies come in, once the broker refuses us for good.
    refusal: OnceLock<Error>,
    limits: Limits,
}

impl Mailroom {
    pub(crate) fn new(config: &Config) -> Self {
        let queue = Mutex::new(fresh_queue());
        let (boxes, last, closed) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let (mode, direct, refusal) = (config.reply_mode, DIRECT.into(), OnceLock::new());
        Self { queue, mode, direct, boxes, last, closed, refusal, limits: config.limits }
    }

    /// Whether replies come over the line that requests go out on.
    pub(crate) fn is_direct(&self) -> bool {
        self.mode == ReplyMode::Direct
    }

    /// What a request says about where its reply goes.
    fn reply_to(&self) -> ShortString {
        if self.is_direct() { self.direct.clone() } else { lock(&self.queue).name.clone() }
    }

    /// The reply queue of now.
    pub(crate) fn queue(&self) -> Queue {
        lock(&self.queue).clone()
    }

    /// Whether the reply to a request that is sent now could come in.
    fn check(&self) -> Result<()> {
        self.refusal.get().map_or(Ok(()), |refusal| Err(refusal.clone().unsent()))
    }

    fn open_box(&self) -> Result<(u64, mpsc::UnboundedReceiver<Result<Delivery>>)> {
        let (put, take) = mpsc::unbounded_channel();
        self.check()?;
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let mut boxes = lock(&self.boxes);
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        boxes.insert(number, put);
        Ok((number, take))
    }

    /// Ends every calling end.
    pub(crate) fn close(&self) {
        let mut boxes = lock(&self.boxes);
        self.closed.store(true, Ordering::Release);
        boxes.clear();
    }

    fn put(&self, requester: u64, item: Result<Delivery>) {
        let boxes = lock(&self.boxes);
        let taken = boxes.get(&requester).is_some_and(|mailbox| mailbox.send(item).is_ok());
        if !taken {
            tracing::debug!(requester, "dropped a reply to a requester that is gone");
        }
    }

    fn deal(&self, raw: Raw) {
        let garbled = match Native.decode_reply(raw, &self.limits) {
            Ok((Correlation { requester, .. }, message)) => {
                return self.put(requester, Ok(Delivery::settled(message)));
            }
            Err(garbled) => garbled,
        };
        match garbled.correlation {
            Some(Correlation { requester, call }) => {
                self.put(requester, Err(garbled.error.with_call(call)))
            }
            None => tracing::warn!(error = ?garbled.error, "dropped a reply that cannot be read"),
        }
    }

    /// Tells every calling end that the replies to its calls in flight are lost.
    fn fail_all(&self, error: &Error) {
        for mailbox in lock(&self.boxes).values() {
            // One that is gone has no calls.
            let _ = mailbox.send(Err(error.clone()));
        }
    }

    /// Says that the line is lost which direct replies would have come over.
    pub(crate) fn lose_replies(&self) {
        let what = "the connection was lost that the replies would have come over";
        self.fail_all(&Error::new(ErrorKind::RepliesLost, what));
    }

    /// Takes in direct replies, until the line is lost.
    pub(crate) async fn take_in_over(self: &Arc<Self>, line: &Arc<Line>) -> Result<()> {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consuming = line.channel().basic_consume(
            self.direct.clone(),
            "".into(),
            options,
            FieldTable::default(),
        );
        let mut replies =
            consuming.await.map_err(|error| failed("cannot consume direct replies", error))?;
        let (mailroom, served) = (self.clone(), Arc::downgrade(line));
        let reading = tokio::spawn(async move {
            // The engine's queue has no bound, and needs none: core bounds the calls in flight.
            while let Some(Ok(raw)) = replies.next().await {
                mailroom.deal(raw);
            }
            if let Some(line) = served.upgrade() {
                line.lose();
            }
        });
        line.own(reading.abort_handle());
        Ok(())
    }

    /// Takes in replies, for ever; tells when it does so for the first time, or why it cannot.
    pub(crate) async fn serve(
        self: Arc<Self>,
        session: Arc<Session>,
        ready: oneshot::Sender<Result<()>>,
    ) {
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        loop {
            match session.unless_lost(self.consume(&session, ready.is_none())).await {
                Ok((channel, replies)) => {
                    backoff.reset();
                    if let Some(ready) = ready.take() {
                        // Whoever opened the transport may have given up.
                        let _ = ready.send(Ok(()));
                    }
                    self.take_in(&channel, replies).await;
                }
                Err(error) => match ready.take() {
                    Some(ready) => return ready.send(Err(error)).unwrap_or_default(),
                    None if let Some(refusal) = session.refusal() => {
                        // First here: a call that begins meanwhile either sees it, or is among
                        // those that fail.
                        let refusal = self.refusal.get_or_init(|| refusal).clone();
                        let error =
                            Error::new(ErrorKind::RepliesLost, "the broker refuses us for good");
                        return self.fail_all(&error.with_source(refusal));
                    }
                    None => tracing::debug!(?error, "cannot take in replies yet"),
                },
            }
            session.suspect();
            backoff.wait().await;
        }
    }

    async fn consume(&self, session: &Session, again: bool) -> Result<(Channel, Consumer)> {
        let queue = self.queue();
        if again && !queue.is_there(session).await? {
            let error = Error::new(
                ErrorKind::RepliesLost,
                "the reply queue is gone, and the replies in it",
            );
            self.fail_all(&error.with("queue", &queue.name));
        }
        let channel = session.channel().await?;
        if let Err(error) = queue.declare(&channel).await {
            if error.kind() == ErrorKind::Config {
                // The broker says so of a queue on a node of its cluster that is away: it cannot be
                // used, and its name is taken until the node is back.
                *lock(&self.queue) = fresh_queue();
            }
            return Err(error);
        }
        let name = &queue.name;
        let cannot = |error| failed("cannot consume the reply queue", error).with("queue", name);
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(name.clone(), "".into(), options, arguments).await;
        Ok((channel, consumer.map_err(cannot)?))
    }

    async fn take_in(&self, channel: &Channel, mut replies: Consumer) {
        let mut next = replies.next().await;
        // The stream must not be polled after its end.
        while let Some(Ok(raw)) = next {
            let mut last = raw.delivery_tag;
            self.deal(raw);
            next = loop {
                match replies.next().now_or_never() {
                    Some(Some(Ok(raw))) => {
                        last = raw.delivery_tag;
                        self.deal(raw);
                    }
                    Some(ended) => break ended,
                    None => {
                        acknowledge(channel, last, true);
                        break replies.next().await;
                    }
                }
            };
        }
        tracing::debug!(?next, "no more replies on this channel");
    }
}

fn fresh_queue() -> Queue {
    let name = format!("polywire.reply.{:032x}", unique());
    Queue::expiring(name.into(), QueueKind::Classic, EXPIRES)
}

/// RabbitMQ's name for the way back to who publishes.
const DIRECT: &str = "amq.rabbitmq.reply-to";
/// How long the queue waits for a client that is away.
const EXPIRES: Duration = Duration::from_mins(5);
/// Replies that the broker sends before the first of them is acknowledged.
const PREFETCH: u16 = 1024;
