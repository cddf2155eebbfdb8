//! What a backend does: open ends, each made of a sending half, a receiving half, or both.

mod any;
mod dead_letter_queue;
mod delivery;
mod halves;
mod log_throttle;
pub(crate) mod memory;
mod subscription;

use std::future::Future;
use std::num::NonZeroUsize;

pub use self::any::AnyTransport;
pub use self::dead_letter_queue::{DeadLetterQueue, DeadLetterSource};
pub use self::delivery::{DeadLetterInfo, Delivery, Outcome, Receipt, RetryAfter, Settle};
pub use self::halves::{Abandoned, Inbound, Outbound, Receiver, Sender, Sending};
#[doc(hidden)]
pub use self::log_throttle::LogThrottle;
pub use self::memory::Memory;
pub use self::subscription::{FilterControl, Filters, Group, Subscription};
use crate::error::{Error, Result};
use crate::message::Address;

/// A carrier of messages: RabbitMQ, ZeroMQ, memory, or a backend of your own.
///
/// # Contract
///
/// What the conformance suite checks, in prose:
///
/// - **Opening** an end returns when the end works: a request sent after
///   [`responder`](Self::responder) returned is queued for it. It returns within the backend's
///   connect time, with an error that names the host if need be.
/// - **Sending** succeeds when the message was handed over, in the strongest sense that the backend
///   has; see [`Capabilities`]. A message that nobody will ever take fails: with [`Unroutable`]
///   from the send, or, where that is only known later, as an item of the requester's receiver that
///   [names the call](crate::Error::call).
/// - **Each request goes to one** of the responders of its service, **each job to one** of the
///   pullers of its queue, wherever they are; among those who have room, none is passed over for
///   long. **What is published** goes to every subscriber with a filter that matches its topic;
///   among the subscribers of one group, to one.
/// - **Replies** go to the [`reply_to`](crate::Message::reply_to) that arrived with the request,
///   with its id. A reply whose receiver is gone is an [`Unroutable`] error, or dropped.
/// - **Receiving** yields each message once, unless it was requeued or its receiver died. What
///   cannot be read is an error item, and the stream goes on; if it can still be answered, it is a
///   delivery whose message has a [`fault`](crate::Message::fault). The stream ends when the end is
///   closed, and only then: a lost connection is the backend's to mend.
/// - **Abandoning** a call reaches the responder that works on it, and no other call; where the
///   backend [can](Capabilities::cancellation).
/// - **A declined request** goes to another responder, and to each once at most as far as it is
///   known who they are; where the backend [can](Capabilities::declining). When all have declined,
///   or too many, its caller is answered with the fault.
/// - **A window** bounds the unsettled deliveries of an end. What is beyond waits at the source,
///   and where that is full, sending waits.
/// - **What failed** comes again not before the time that its [`RetryAfter`] says, counted as one
///   more attempt; a [dead letter](Outcome::DeadLetter) comes to nobody, until it is
///   [redriven](DeadLetterQueue::redrive). With both goes what the attempts said. At no moment is
///   it nowhere: what is put elsewhere is there before it is gone from here.
/// - **Closing** ends every receiver and fails every later send with [`Closed`]. Twice is once.
/// - **Dropping** an end gives back what it held: unsettled requests go to another responder, or
///   fail their callers.
///
/// # Cancellation
///
/// Dropping the future of an opening method abandons the end. Dropping a [`Sending`] leaves it open
/// whether the message was sent. Receiving is a poll of a stream: nothing is lost when it is
/// dropped.
///
/// [`Unroutable`]: crate::ErrorKind::Unroutable
/// [`Closed`]: crate::ErrorKind::Closed
pub trait Transport: Send + Sync + 'static {
    /// What this backend can do, as it is set up.
    fn capabilities(&self) -> Capabilities;

    /// Opens the calling end of `service`: requests go out, replies come in.
    fn requester(
        &self,
        service: &Address,
    ) -> impl Future<Output = Result<(Sender, Receiver)>> + Send;

    /// Opens a serving end of `service`: requests come in, at most `window` of them unsettled, and
    /// replies go out.
    fn responder(
        &self,
        service: &Address,
        window: Window,
    ) -> impl Future<Output = Result<(Sender, Receiver)>> + Send;

    /// Opens the pushing end of `queue`. Jobs that are sent wait there for a puller, if the backend
    /// can [hold](Capabilities::holding) them.
    fn pusher(&self, queue: &Address) -> impl Future<Output = Result<Sender>> + Send;

    /// Opens a pulling end of `queue`: jobs come in, at most `window` of them unsettled. One that
    /// is stopped goes on yielding what it cannot hand back, and then ends.
    fn puller(
        &self,
        queue: &Address,
        window: Window,
    ) -> impl Future<Output = Result<Receiver>> + Send;

    /// Opens the publishing end of `channel`. Messages that are sent have a
    /// [topic](crate::Message::topic); what no subscriber wants is gone.
    fn publisher(&self, channel: &Address) -> impl Future<Output = Result<Sender>> + Send;

    /// Opens a subscribing end of `channel`. What is published after this has returned is not
    /// missed, unless it is published by somebody who was out of reach.
    ///
    /// More than was asked for may come, in which case core drops it; for a member of a group
    /// nothing may.
    fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> impl Future<Output = Result<(Receiver, Filters)>> + Send;

    /// Opens the dead letters of `origin`, for somebody to look after. Nothing has to have died
    /// yet.
    ///
    /// A backend that keeps none leaves this as it is; one that passes everything on to another has
    /// to pass this on, too.
    fn dead_letters(
        &self,
        origin: &DeadLetterSource,
    ) -> impl Future<Output = Result<Box<dyn DeadLetterQueue>>> + Send {
        let _ = origin;
        std::future::ready(Err(Error::unsupported("dead_letters")))
    }

    /// Closes every end that this transport opened.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// What a backend can do, as facts about its semantics.
///
/// A caller asks before it relies; asking a backend for what it lacks is [`ErrorKind::Unsupported`]
/// at once.
///
/// [`ErrorKind::Unsupported`]: crate::ErrorKind::Unsupported
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Settling means something: an unsettled request goes to another responder, an unsettled job
    /// to another puller.
    pub settlement: bool,
    /// A server learns that a caller has stopped waiting for a call that it carries out. Without,
    /// it goes on until the deadline of the call.
    pub cancellation: bool,
    /// A request that a server [declines](crate::transport::Outcome::Decline) goes to another one
    /// by itself. Without, its caller sends it again, up to seven times, to whichever server
    /// comes next.
    pub declining: bool,
    /// The attempts at a delivery are counted, and not only told apart as the first and a later
    /// one.
    pub attempts: bool,
    /// What failed can be given back so that it comes again after a while, and with it what the
    /// attempts said.
    pub delayed_retries: bool,
    /// What failed for good can be kept where somebody can look at it, send it on its way again,
    /// or forget it.
    pub dead_letters: bool,
    /// Messages have priorities, and what is urgent is taken first, where a queue is set up for
    /// it.
    pub priorities: bool,
    /// What was handed over survives the death of the receiving process: somebody else keeps it.
    pub durable: bool,
    /// Jobs can be pushed and pulled.
    pub pipeline: bool,
    /// Events can be published and subscribed to.
    pub pubsub: bool,
    /// A job waits in its queue while no puller is there.
    pub holding: bool,
    /// Subscribers can share a subscription: each message goes to one of the group.
    pub groups: bool,
    /// A durable group collects what is published while none of its subscribers is there.
    pub durable_groups: bool,
    /// A request to a service that never existed fails at once, and not only when the connect time
    /// is over.
    pub unroutable_at_once: bool,
    /// Peers prove who they are, if it is set up so, and a handler is told: see
    /// [`Message::peer`](crate::Message::peer).
    pub security: bool,
    /// The largest body, in bytes.
    pub body_max: usize,
}

impl Capabilities {
    /// A backend that can do the least: it carries requests and replies, with bodies of up to
    /// `body_max` bytes.
    #[must_use]
    pub const fn least(body_max: usize) -> Self {
        Self {
            settlement: false,
            cancellation: false,
            declining: false,
            attempts: false,
            delayed_retries: false,
            dead_letters: false,
            priorities: false,
            durable: false,
            pipeline: false,
            pubsub: false,
            holding: false,
            groups: false,
            durable_groups: false,
            unroutable_at_once: false,
            security: false,
            body_max,
        }
    }
}

/// How many deliveries an end may hold unsettled: AMQP's prefetch, ZeroMQ's high-water mark,
/// permits in memory.
///
/// It is the backpressure of a server: when that many requests are being worked on, the rest waits
/// at the source, where another server may take it. The default is 128.
///
/// ```
/// use polywire_core::Window;
///
/// assert_eq!(Window::default().messages(), 128);
/// assert_eq!(Window::new(0).messages(), 1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(NonZeroUsize);

impl Window {
    /// The widest window, which AMQP's 16-bit prefetch sets.
    pub const MAX: usize = u16::MAX as usize;

    /// A window of this many messages, cut to 1 at the least and [`Window::MAX`] at the most.
    #[must_use]
    pub const fn new(messages: usize) -> Self {
        let cut = if messages > Self::MAX { Self::MAX } else { messages };
        match NonZeroUsize::new(cut) {
            Some(messages) => Self(messages),
            None => Self(NonZeroUsize::MIN),
        }
    }

    /// The number of messages.
    #[must_use]
    pub const fn messages(self) -> usize {
        self.0.get()
    }
}

impl Default for Window {
    fn default() -> Self {
        Self::new(128)
    }
}
