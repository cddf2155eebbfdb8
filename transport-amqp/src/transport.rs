//! The transport.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::transport::{
    DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
};
use polywire_core::{Address, Capabilities, Error, ErrorKind, Message, Result, Transport, Window};
use rustc_hash::FxHashSet;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

#[cfg(doc)]
use crate::ReplyMode;
use crate::announcer::Announcer;
use crate::config::{AmqpBuilder, Config};
use crate::control::Words;
use crate::error::{closed, lock};
use crate::events::{ConnectionEvents, Purpose};
use crate::lines::Lines;
use crate::requester::{self, Mailroom};
use crate::returns::{Copies, Made};
use crate::session::Session;
use crate::topology::{self, Queue};
use crate::{graveyard, publisher, puller, pusher, responder, subscriber};

/// RabbitMQ as a transport.
///
/// ```no_run
/// # use polywire_codec::MessagePack;
/// use polywire_amqp::Amqp;
/// use polywire_core::Client;
///
/// # async fn add() -> Result<(), polywire_core::CallError> {
/// let transport = Amqp::connect("amqp://guest:guest@localhost").await?;
/// let calculator = Client::connect(&transport, "calculator", MessagePack).await?;
/// let sum: i64 = calculator.call("add", &(2, 3)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is at the broker
///
/// | queue | made by | properties |
/// |---|---|---|
/// | `polywire.SERVICE` | the servers of the service | stays; shared by them |
/// | `polywire.reply.RANDOM` | each transport that calls, one for all its clients, unless replies are [direct](ReplyMode::Direct) | expires after 5 minutes without its client |
/// | `polywire.jobs.QUEUE` | pushers and pullers | stays; shared by the pullers |
/// | `polywire.events.CHANNEL..group.GROUP` | the subscribers of the group | stays, if the group is durable; else expires after 60 seconds without them |
/// | `polywire.events.CHANNEL..own.RANDOM` | each subscriber that shares with nobody | goes with its subscriber, or expires after 60 seconds without it |
/// | `polywire.retry.QUEUE..MILLISECONDS` | whoever gives something back to a queue for later | expires after 5 minutes without use, and never before what is in it is due |
/// | `polywire.control..RANDOM` | each server, to hear of callers that stop waiting | exclusive, and goes with its consumer; at most 1,024 words |
/// | `polywire.dead.QUEUE` | whoever has something dead, or looks for it | stays, without bound unless [one is set](crate::QueueOptions::dead_letters_max): see that somebody looks |
///
/// QUEUE is the name of the one that it is for, without its `polywire.`:
/// `polywire.dead.jobs.thumbnails`.
///
/// All others are durable and not exclusive, so that they are there again when a connection or the
/// broker comes back; the first, the third and the fourth are of the
/// [kind](AmqpBuilder::queue_kind) and have the [options](crate::QueueOptions) that were
/// chosen, and what waits for one or is dead is kept in the same kind. Each channel has a durable
/// topic exchange, `polywire.events.CHANNEL`; topics are its routing keys, and filters its binding
/// keys. No name can be that of something else: no address holds two dots in a row, and no service
/// may be called `reply`, `jobs`, `events`, `retry` or `dead`, or have a name that begins with one
/// of these and a dot.
///
/// Everything is confirmed and persistent. Requests, replies and jobs go through the default
/// exchange, and are mandatory. A request whose service has no queue is
/// [`Unroutable`](ErrorKind::Unroutable) at once; one whose service has a queue, but no server,
/// waits there until its deadline. A job waits for a puller as long as it takes; if somebody has
/// deleted the queue, its pusher makes it again.
///
/// # What happens when
///
/// Two connections are kept, one to publish and one to consume, so that a broker that stops
/// publishers does not stop acknowledgements. One that is lost is made again, with its queues and
/// consumers, at intervals that grow from 0.1 to 5 seconds. Meanwhile what is sent is
/// [held](AmqpBuilder::held), and goes out in the order in which it was handed over.
/// The same happens while the broker takes no messages because it runs out of memory or disk, and
/// while too much is [unconfirmed](AmqpBuilder::unconfirmed). What does not fit into the buffer
/// waits for room. A message whose time is over while it waits, or whose sender is dropped, is
/// taken out and never sent.
///
/// | a send, or a call, fails as | because | unsent |
/// |---|---|---|
/// | [`Disconnected`](ErrorKind::Disconnected) | there was no connection until its deadline, or for the connect time | yes |
/// | [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) | the broker took no messages until its deadline, or for the confirm time if it has none | yes |
/// | [`Unroutable`](ErrorKind::Unroutable) | it came back: the service has no queue | yes |
/// | [`Disconnected`](ErrorKind::Disconnected) | it was on its way when the connection was lost | unknown |
/// | [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) | it was on its way, and not confirmed within the [confirm time](AmqpBuilder::confirm_timeout) | unknown |
/// | [`Rejected`](ErrorKind::Rejected) | the broker said that it could not take it | unknown |
/// | [`Overloaded`](ErrorKind::Overloaded) | the same, of a queue that [refuses](crate::QueueOverflow::Reject) what is too much | unknown |
/// | [`RepliesLost`](ErrorKind::RepliesLost) | somebody has deleted the reply queue, or [direct](ReplyMode::Direct) replies lost their connection | unknown |
///
/// A server acknowledges a request after the broker has confirmed its reply; if it dies before,
/// another one gets the request, marked as redelivered. What was taken and not settled when a
/// connection was lost is delivered again, and a late acknowledgement is ignored. So it is if the
/// broker closes a channel alone, for instance because something was not settled within its
/// `consumer_timeout`, which is 30 minutes unless it is told otherwise. A subscription that was
/// away for longer than its queue lasts is made again with the filters that it has now, and its
/// subscriber gets a [`Disconnected`](ErrorKind::Disconnected) error: events may have been missed.
///
/// A request that waits in its queue for longer than its caller does is taken away by the broker,
/// and never starts. But the time that it waited is not known to the server, whose clock is another
/// one: a request that comes late may be worked on for as long again as its caller had at first.
///
/// # Who sends
///
/// Requests, jobs and events say in AMQP's `user-id` which user sends them, and the broker takes
/// that from nobody else: a message that names another user than the one of its connection costs
/// its sender the channel. So a handler knows by [`Context::peer`](polywire_core::Context::peer)
/// who sent what it gets, also from programs that are not ours, if they say it. Nothing else that a
/// message says of its sender is taken for true.
///
/// There is no name, and `peer` is `None`, where nobody can bear one out; a handler that has to
/// know takes that for a stranger:
///
/// - What is published again comes from whoever did that, and not from its sender any more. So it
///   is with what is [given back](#what-fails) after a pause, or to a classic queue with its count;
///   with what was dead and is sent on its way again; and with [requests that were
///   declined](#requests-that-servers-decline). What the broker delivers again by itself, or moves,
///   keeps its name.
/// - The broker may know a user by another name than the one in the URL or in the
///   [credentials](AmqpBuilder::credentials): by that of a certificate, or of a token. It is asked
///   for each connection, with one message to nobody, and if it does not take the name, none is
///   said. With `auth_mechanism=external`, name the user in the URL as the broker does:
///   `amqps://billing@rabbit.example.org?auth_mechanism=external`.
/// - The user may not write to the default exchange, where the question goes.
/// - It is [turned off](AmqpBuilder::identify).
///
/// A user with the broker's tag `impersonator` may name anybody, and so may whatever runs within
/// the broker and connects as nobody, as shovels do that name no user; and a federation link that
/// is told to trust user ids passes on what another broker has verified: who gives these gives the
/// right to be taken for others. The names are those of one broker; what is asked of a handler by
/// which user is for the handler, or a layer, to decide.
///
/// # Callers that stop waiting
///
/// A call that is dropped before its deadline is told to the servers, by the exchange `amq.direct`,
/// and the one that works on it drops its handler; one that gets it later does not begin. It is not
/// confirmed, and not held: while there is no connection, or more than 1,024 are to be told, a
/// handler goes on until the deadline. So it does if the user may not write to, or read from,
/// `amq.direct`, which costs nothing else; and always with [direct](ReplyMode::Direct) replies,
/// whose return address is good on one channel only. Such a transport says that it has no
/// [`cancellation`](Capabilities::cancellation).
///
/// # Requests that servers decline
///
/// What a handler [declines](polywire_core::Fault::declined) is published again with the names of
/// those who did, so that no server runs it twice. As many as consume the queue are all of them:
/// then the caller is answered. One that comes to a server that has declined it, since the others
/// are busy, goes round by way of a queue for what waits, for 16 ms at first and for about a second
/// at last; at the 33rd time, or when 64 servers have declined, the caller is answered, too.
/// Its deadline goes along.
///
/// # What fails
///
/// The attempts at jobs, and at the events of a group, are counted. A classic queue does not count,
/// so what is given back is published again with its count, behind what waits there already, and
/// acknowledged once that is confirmed; so is, before anybody is given it, what comes again because
/// a connection or a process died. A quorum queue counts by itself. Of a request it is only told
/// that it was delivered before, unless its queue is a quorum queue.
///
/// What is to wait is published into a queue for waiting, and moved by the broker when it is due:
/// up to a quarter of the pause too late, not at all too early. What is dead is published into the
/// queue for that. Both are confirmed before the original is acknowledged: it may be there twice if
/// a connection is lost in between, and never not at all. What the broker itself moves, from where
/// it waited, it sees arrive if the queues are quorum queues; between classic ones, a broker that
/// is killed in that moment may lose it. A queue that [refuses](crate::QueueOverflow::Reject) what
/// is too much is offered it again every three minutes.
///
/// The story is in headers of the copy; the texts are cut at 1 KiB each, and who looks with other
/// tools finds:
///
/// | header | |
/// |---|---|
/// | `polywire.attempt` | which attempt it is |
/// | `polywire.topic` | of an event, its topic, which its way through the default exchange would else lose |
/// | `polywire.error.first`, `polywire.error.last` | what the first and the last attempt said |
/// | `polywire.dead.reason`, `polywire.dead.attempts` | why it is dead, and after how many attempts; see [`DeadLetterReason`](polywire_core::message::DeadLetterReason) |
/// | `polywire.dead.at`, `polywire.dead.origin` | when it died, in milliseconds since 1970, and in which queue |
/// | `polywire.redriven` | how often it was dead and sent on its way again |
///
/// A dead letter does not expire, also if its message was to. What the broker itself put there, by
/// [`QueueOptions::dead_letters`](crate::QueueOptions::dead_letters), tells its reason in `x-death`
/// instead, which is read as well.
///
/// Clones are the same transport. Dropping the last one, and the ends it opened, closes the
/// connections. Closing it deletes the reply queue and the queues of subscribers of their own, and
/// takes 5 seconds at the most; it goes on if its future is dropped.
#[derive(Clone)]
pub struct Amqp(Arc<Inner>);

/// What the ends of a transport share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) consuming: Arc<Session>,
    pub(crate) publishing: Arc<Session>,
    pub(crate) lines: Lines,
    pub(crate) mailroom: Arc<Mailroom>,
    pub(crate) made: Made,
    pub(crate) copies: Copies,
    announcer: Announcer,
    /// The queues that are ours alone, to be deleted when we are done.
    private: Mutex<FxHashSet<String>>,
    replies: tokio::sync::OnceCell<()>,
    words: OnceLock<Words>,
    tasks: Mutex<Vec<AbortHandle>>,
    closed: AtomicBool,
    /// Whether all is done that closing means.
    is_done: watch::Sender<bool>,
}

impl Amqp {
    /// Connects to the broker that `url` names: `amqp://user:password@host:port/vhost`, or
    /// `amqps://` for TLS.
    ///
    /// A virtual host that is left out is `/`; so is one of a single slash. The brokers of a
    /// cluster stand in a row, with commas between
    /// (`amqp://user:password@a:5672,b:5672/vhost`): the first that answers is taken, and the next
    /// one when it is lost. Options go after a question mark:
    ///
    /// | option | |
    /// |---|---|
    /// | `heartbeat=10` | seconds; see [`AmqpBuilder::heartbeat`] |
    /// | `connection_timeout=10000` | milliseconds; see [`AmqpBuilder::connect_timeout`] |
    /// | `cacertfile=/path.pem` | see [`AmqpBuilder::ca_file`] |
    /// | `certfile=/path.pem`, `keyfile=/path.pem` | see [`AmqpBuilder::certificate`] |
    /// | `held_messages=4096`, `held_bytes=67108864` | see [`AmqpBuilder::held`] |
    /// | `unconfirmed_messages=4096`, `unconfirmed_bytes=67108864` | see [`AmqpBuilder::unconfirmed`] |
    /// | `reply_mode=direct` | or `queue`; see [`AmqpBuilder::reply_mode`] |
    /// | `queue_kind=quorum` | or `classic`; see [`AmqpBuilder::queue_kind`] |
    /// | `frame_max=131072` | the most bytes of a frame; all headers of a message have to fit into one, also of those that others send |
    /// | `channel_max`, `auth_mechanism` | as in RabbitMQ's [URI query parameters](https://www.rabbitmq.com/docs/uri-query-parameters) |
    ///
    /// Dropping the future abandons the connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the URL is malformed, and what [`AmqpBuilder::connect`] says.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(url)?.connect().await
    }

    /// A connection to be set up step by step, beginning with a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the URL is malformed; [`ErrorKind::Unsupported`] if it asks for
    /// TLS, which is not compiled in.
    pub fn builder(url: &str) -> Result<AmqpBuilder> {
        AmqpBuilder::new(url)
    }

    /// How the connections are, and what happens to them from now on: connected, lost, restored,
    /// blocked, refused.
    #[must_use]
    pub fn events(&self) -> ConnectionEvents {
        self.0.announcer.listen()
    }

    pub(crate) async fn open(config: Config) -> Result<Self> {
        let announcer = Announcer::new();
        let session = |purpose| Session::open(config.clone(), purpose, announcer.clone());
        let publishing = Arc::new(session(Purpose::Publishing).await?);
        let consuming = Arc::new(session(Purpose::Consuming).await?);
        let mailroom = Arc::new(Mailroom::new(&config));
        let direct = mailroom.is_direct().then(|| mailroom.clone());
        let opening = Lines::open(publishing.clone(), &config, direct);
        let lines = timeout(config.connect_timeout, opening).await.map_err(|_| slow(&config))??;
        Ok(Self(Arc::new(Inner {
            config,
            consuming,
            publishing,
            announcer,
            lines,
            mailroom,
            made: Made::default(),
            copies: Copies::default(),
            private: Mutex::default(),
            replies: tokio::sync::OnceCell::new(),
            words: OnceLock::new(),
            tasks: Mutex::default(),
            closed: AtomicBool::new(false),
            is_done: watch::Sender::new(false),
        })))
    }
}

impl Inner {
    /// Whether a message may leave now.
    pub(crate) fn check(&self, message: &Message) -> Result<()> {
        self.check_open()?;
        self.config.limits.check(message)
    }

    /// Takes a task into its charge, to end it when it is closed.
    pub(crate) fn own(&self, task: AbortHandle) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        if self.check_open().is_err() {
            return task.abort();
        }
        tasks.push(task);
    }

    /// What `opening` comes to, unless it takes longer than connecting may.
    pub(crate) async fn in_connect_time<T>(
        &self,
        opening: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        timeout(self.config.connect_timeout, opening).await.map_err(|_| slow(&self.config))?
    }

    /// Takes a queue into its charge that nobody else will read.
    pub(crate) fn add_private(&self, queue: &Queue) {
        lock(&self.private).insert(queue.name.to_string());
    }

    /// Takes such a queue away. If it cannot be done now, the queue expires by itself.
    pub(crate) async fn delete_private(&self, queue: &Queue) {
        if lock(&self.private).remove(queue.name.as_str()) {
            self.delete([queue.name.clone()]).await;
        }
    }

    async fn delete(&self, queues: impl IntoIterator<Item = ShortString>) {
        let deleting = async { topology::delete(&self.consuming.channel().await?, queues).await };
        match timeout(DELETE_MAX, deleting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(?error, "left queues to expire"),
            Err(_) => tracing::debug!("left queues to expire, for want of a connection"),
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(closed()) } else { Ok(()) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes in replies, from the first calling end on.
    async fn take_in_replies(&self) -> Result<()> {
        if self.mailroom.is_direct() {
            // They come in over each line.
            return Ok(());
        }
        let start = || async {
            let (tell, ready) = oneshot::channel();
            let serving = tokio::spawn(self.mailroom.clone().serve(self.consuming.clone(), tell))
                .abort_handle();
            self.own(serving.clone());
            // Whoever gives up takes it along: the next one begins with his own.
            let beginning = Beginning(serving);
            ready.await.map_err(|_| closed())??;
            beginning.keep();
            Ok(())
        };
        self.replies.get_or_try_init(start).await.map(|_| ())
    }

    /// What closing means, once nobody opens or calls anything any more.
    async fn shut_down(&self) {
        // Closed in between, a copy would be there, and the original as well.
        if timeout(GIVING_BACK_MAX, self.copies.are_done()).await.is_err() {
            tracing::warn!("closing while something is being given back: it may be there twice");
        }
        self.lines.close();
        self.end_tasks();
        let mut private: Vec<_> = lock(&self.private).drain().map(ShortString::from).collect();
        if self.replies.initialized() {
            private.push(self.mailroom.queue().name);
        }
        if !private.is_empty() {
            self.delete(private).await;
        }
        tokio::join!(self.publishing.close(), self.consuming.close());
    }

    /// Where word is left for servers; nowhere, if replies are direct: the return address is only
    /// good on the channel that requests go out on.
    pub(crate) fn words(&self) -> Option<&Words> {
        (!self.mailroom.is_direct()).then(|| self.words.get_or_init(|| Words::pass_on(self)))
    }

    fn end_tasks(&self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

impl Transport for Amqp {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(self.0.config.limits.body_max);
        (capabilities.settlement, capabilities.attempts) = (true, true);
        (capabilities.declining, capabilities.cancellation) = (true, !self.0.mailroom.is_direct());
        (capabilities.durable, capabilities.holding) = (true, true);
        (capabilities.pipeline, capabilities.pubsub) = (true, true);
        (capabilities.groups, capabilities.durable_groups) = (true, true);
        (capabilities.delayed_retries, capabilities.dead_letters) = (true, true);
        (capabilities.priorities, capabilities.unroutable_at_once) = (true, true);
        capabilities.security = self.0.config.identifies();
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.0.check_open()?;
        self.0.in_connect_time(self.0.take_in_replies()).await?;
        requester::open(&self.0, service)
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.0.check_open()?;
        self.0.in_connect_time(responder::open(&self.0, service, window)).await
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        self.0.check_open()?;
        self.0.in_connect_time(pusher::open(&self.0, queue)).await
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        self.0.check_open()?;
        self.0.in_connect_time(puller::open(&self.0, queue, window)).await
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.0.check_open()?;
        self.0.in_connect_time(publisher::open(&self.0, channel)).await
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.0.check_open()?;
        self.0.in_connect_time(subscriber::open(&self.0, channel, subscription)).await
    }

    async fn dead_letters(&self, origin: &DeadLetterSource) -> Result<Box<dyn DeadLetterQueue>> {
        self.0.check_open()?;
        self.0.in_connect_time(graveyard::open(&self.0, origin)).await
    }

    /// Closes it, which takes 5 seconds at the most. If the future is dropped, that goes on;
    /// calling it again waits for the same end.
    async fn close(&self) -> Result<()> {
        let mut is_done = self.0.is_done.subscribe();
        if !self.0.closed.swap(true, Ordering::AcqRel) {
            self.0.mailroom.close();
            let closing = Closing(self.0.clone());
            drop(tokio::spawn(async move { closing.0.shut_down().await }));
        }
        // The other side is in here.
        let _ = is_done.wait_for(|is_done| *is_done).await;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// A transport that is being closed, by a task that may end with its runtime: then nobody is to
/// wait for it.
struct Closing(Arc<Inner>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.is_done.send_replace(true);
    }
}

/// A task that is ended if nobody waits for it to begin.
struct Beginning(AbortHandle);

impl Beginning {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long what was given back may take to get to its queue, before the connections are closed.
const GIVING_BACK_MAX: Duration = Duration::from_secs(2);
/// How long a broker may take to delete queues, before they are left to expire.
const DELETE_MAX: Duration = Duration::from_secs(1);

fn slow(config: &Config) -> Error {
    let error =
        Error::new(ErrorKind::Disconnected, "the broker did not answer within the connect time");
    error.with("host", config.target.host()).with("port", config.target.port()).unsent()
}
