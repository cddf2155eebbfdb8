//! The trait of a transport and its contract.

use std::future::Future;

use super::{
    Capabilities, DeadLetterQueue, DeadLetterSource, Filters, Receiver, Sender, Subscription,
    Window,
};
use crate::error::{Error, Result};
use crate::health::HealthReader;
use crate::message::Address;

/// Transport of messages: RabbitMQ, ZeroMQ, memory, or a backend of your own.
///
/// # Contract
///
/// The conformance suite (`polywire-conformance`) checks these rules.
///
/// **Opening**
///
/// - An opening method returns when the endpoint handle works. A request that is sent after
///   [`responder`](Self::responder) returned is queued for that responder.
/// - An opening method returns within the backend's connect time. An error names the host.
///
/// **Sending**
///
/// - A send succeeds when the message was handed over, in the strongest sense that the backend
///   supports; see [`Capabilities`].
/// - A message without a possible receiver fails with [`Unroutable`]. If the backend learns of the
///   failure after the send, the requester's receiver yields an error that [names the
///   call](crate::Error::call).
/// - A full queue makes the sender wait. The backend drops no message to make room.
/// - A message whose send succeeded arrives, even if the handle and the transport are dropped at
///   once, as long as the runtime goes on.
/// - Once the runtime that opened a handle has ended, a send fails at once as [`Closed`] and
///   unsent, or its message arrives. The backend takes no message that its ended tasks would send.
/// - A send that a close interrupts counts as [unsent](crate::Error::is_unsent) only if no receiver
///   can get its message.
/// - Jobs of one pusher reach one puller in the order of their sends, and events of one publisher
///   reach one subscriber so, if each send began after the end of the one before. Requests have no
///   order, and a message that is requeued or retried loses its place.
/// - Names of up to [`Address::MAX`] bytes of UTF-8 are sent and received unchanged.
///
/// **Routing**
///
/// - Each request goes to exactly one responder of its service.
/// - Each job goes to exactly one puller of its queue.
/// - The backend passes over no responder or puller that has room in its window for long.
/// - Each published message goes to every subscriber with a matching filter. Within a group it goes
///   to one subscriber. A group has the filters of all its members together, so a member may
///   receive what only another member subscribed to.
/// - A subscriber receives each matching message, however slow it is. If it may have missed some
///   over a lost connection, its receiver yields an error of the kind [`Disconnected`], where the
///   backend [supports](Capabilities::loss_reports) it.
/// - Each reply goes to the [`reply_to`](crate::Message::reply_to) of its request, with the id of
///   its request. A reply to a closed requester fails with [`Unroutable`], or is dropped.
///
/// **Receiving**
///
/// - A receiver yields each message once. A message is redelivered if it was requeued or if its
///   receiver died.
/// - A message that cannot be decoded is an error item, and the stream continues. A request that
///   can still be answered is a delivery whose message has a [`fault`](crate::Message::fault).
/// - The backend reconnects a lost connection itself. The stream ends when the endpoint handle is
///   closed, or after an error that is marked [`fatal`](crate::Error::fatal): the backend can
///   receive nothing any more, for instance because a broker refuses for good. Core serves no
///   longer than the stream, and returns this error from [`Serving`](crate::worker::Serving).
///
/// **Settling**
///
/// - The window bounds the unsettled deliveries of an endpoint handle. Further messages stay at the
///   source. Without [`settlement`](Capabilities::settlement), it bounds what the handle fetches
///   in advance, beside the buffers of the network.
/// - A [declined](super::Outcome::Decline) request goes to another responder, at most once to each
///   known responder, where the backend [supports](Capabilities::declining) declining. When all
///   have declined, or too many, the backend answers the client with the fault.
/// - A [retried](super::Outcome::Retry) delivery is redelivered after its delay, counted as one
///   more attempt.
/// - A [dead letter](super::Outcome::DeadLetter) is not redelivered until it is
///   [redriven](DeadLetterQueue::redrive).
/// - A retried message and a dead letter carry the errors of their attempts.
/// - A message never has no owner: the backend confirms a copy at its new place before it removes
///   the original.
///
/// **Abandoning**
///
/// - An abandoned call is reported to the responder that runs it, and to no other, where the
///   backend [supports](Capabilities::cancellation) cancellation.
///
/// **Asking**
///
/// - A backend that settles carries the [question](super::Outbound::ask) of a responder to the
///   requester of the call, and the [answer](super::Outbound::answer) back to that responder.
/// - A [checked](super::Outbound::check) responder that was dropped, or whose connection is lost,
///   is reported as [gone](super::ServerNotice::Gone) within half a second.
///
/// **Health**
///
/// - [`health`](Self::health) reports each responder, puller and subscriber as consuming when its
///   opening method returns, and as interrupted while it does not consume.
/// - The connection is not [connected](crate::health::ConnectionState::Connected) while messages
///   cannot be sent or received.
/// - A canary takes the way of a message, and no receiver yields it.
///
/// **Closing and dropping**
///
/// - [`close`](Self::close) ends every receiver. Every later send fails with [`Closed`]. A second
///   close has no effect.
/// - A dropped endpoint handle requeues its unsettled deliveries. A request without a remaining
///   responder fails at its client.
/// - A request on its way to a responder that stops or closes goes to another one, is refused, or
///   fails. It does not wait for its deadline.
///
/// # Cancel safety
///
/// - If the future of an opening method is dropped, the backend closes what it had opened.
/// - If a [`Sending`](super::Sending) is dropped, the message may have been sent or not.
/// - Receiving polls a stream. If the future of [`Receiver::next`] is dropped, no message is lost.
///
/// [`Closed`]: crate::ErrorKind::Closed
/// [`Disconnected`]: crate::ErrorKind::Disconnected
/// [`Unroutable`]: crate::ErrorKind::Unroutable
/// [`Closed`]: crate::ErrorKind::Closed
pub trait Transport: Send + Sync + 'static {
    /// Returns the capabilities of this backend in its current configuration.
    fn capabilities(&self) -> Capabilities;

    /// Opens a requester of `service`: the sender sends requests, the receiver yields replies.
    fn requester(
        &self,
        service: &Address,
    ) -> impl Future<Output = Result<(Sender, Receiver)>> + Send;

    /// Opens a responder of `service`: the receiver yields requests, at most `window` of them
    /// unsettled; the sender sends replies.
    fn responder(
        &self,
        service: &Address,
        window: Window,
    ) -> impl Future<Output = Result<(Sender, Receiver)>> + Send;

    /// Opens a pusher to `queue`. Where the backend supports [`holding`](Capabilities::holding),
    /// jobs wait in the queue for a puller.
    fn pusher(&self, queue: &Address) -> impl Future<Output = Result<Sender>> + Send;

    /// Opens a puller of `queue`: the receiver yields jobs, at most `window` of them unsettled.
    ///
    /// A stopped puller yields the jobs that it cannot requeue; then its stream ends.
    fn puller(
        &self,
        queue: &Address,
        window: Window,
    ) -> impl Future<Output = Result<Receiver>> + Send;

    /// Opens a publisher to `channel`. Each message has a [topic](crate::Message::topic). The
    /// backend drops a message that no subscriber's filter matches.
    fn publisher(&self, channel: &Address) -> impl Future<Output = Result<Sender>> + Send;

    /// Opens a subscriber of `channel`.
    ///
    /// The subscriber receives every matching message that a connected publisher sends after this
    /// method returned. The backend may also deliver messages that no filter matches; core drops
    /// these. To a member of a group the backend delivers matching messages only.
    fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> impl Future<Output = Result<(Receiver, Filters)>> + Send;

    /// Opens the dead-letter queue of `source`. It may be empty.
    ///
    /// Fails with [`DeadLetterSource::unknown`] if neither the source nor its dead-letter queue
    /// exists, and declares neither then.
    ///
    /// The default implementation fails with [`Unsupported`](crate::ErrorKind::Unsupported), for
    /// backends without dead letters. A transport that wraps another one must forward this method.
    fn dead_letters(
        &self,
        source: &DeadLetterSource,
    ) -> impl Future<Output = Result<Box<dyn DeadLetterQueue>>> + Send {
        let _ = source;
        std::future::ready(Err(Error::unsupported("dead_letters")))
    }

    /// Returns the number of deliveries of `source` that wait for their retries, as far as this
    /// transport knows; zero for a source that was never used. If the future is dropped, nothing
    /// has changed.
    ///
    /// The default implementation fails with [`Unsupported`](crate::ErrorKind::Unsupported), for
    /// backends without delayed retries, or that cannot count. A transport that wraps another one
    /// must forward this method.
    fn waiting_retries(
        &self,
        source: &DeadLetterSource,
    ) -> impl Future<Output = Result<u64>> + Send {
        let _ = source;
        std::future::ready(Err(Error::lacking("WaitingRetries::count", "counted retries")))
    }

    /// Returns a reader of the [health](crate::health) of this transport.
    ///
    /// The default implementation reports an [unknown](crate::health::ConnectionState::Unknown)
    /// connection without endpoint handles, which is never ready. A transport that wraps another
    /// one must forward this method, or its health is unknown.
    fn health(&self) -> HealthReader {
        HealthReader::unknown()
    }

    /// Returns a reader of the health of the connection that handles of this service, queue or
    /// channel use, whether one is open or not.
    ///
    /// The default implementation returns [`health`](Self::health), for transports whose handles
    /// share their connections. A transport that wraps another one must forward this method.
    fn health_of(&self, name: &Address) -> HealthReader {
        let _ = name;
        self.health()
    }

    /// Closes every endpoint handle that this transport opened.
    ///
    /// If the future is dropped, the handles may be open or closed.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}
