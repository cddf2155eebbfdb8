//! Building a broadcast: its arguments and its options.

use std::fmt;
use std::time::Duration;

use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::coop::consume_budget;

use super::broadcaster::Broadcaster;
use super::envelope::CallerEvent;
use super::gather_options::GatherOptions;
use super::gathering::Gathering;
use crate::context::{Baggage, limit_deadline, propagate};
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::message::{Address, Deadline, Instance, Message};

impl<D: Dialect> Broadcaster<D> {
    /// Prepares a call of `method` at each instance.
    ///
    /// An invalid name of the method fails the call later, not here.
    pub fn request(
        &self,
        method: impl TryInto<Address, Error: Into<Error>>,
    ) -> BroadcastBuilder<'_, D> {
        let options = GatherOptions {
            deadline: Deadline::after(self.timeout),
            gap: None,
            count: None,
            quorum: None,
            expected: None,
            is_set_named: false,
        };
        BroadcastBuilder {
            broadcaster: self,
            method: method.try_into().map_err(Into::into),
            message: Message::default(),
            options,
            ttl: None,
        }
    }
}

/// Builder for one broadcast; made by [`Broadcaster::request`].
///
/// [`gather`](Self::gather) sends the call and returns the stream of its outcomes,
/// [`send`](Self::send) sends it one way.
#[must_use = "nothing is sent until `gather` or `send`"]
pub struct BroadcastBuilder<'b, D> {
    broadcaster: &'b Broadcaster<D>,
    method: Result<Address>,
    message: Message,
    options: GatherOptions,
    ttl: Option<Duration>,
}

impl<D: Dialect> BroadcastBuilder<'_, D> {
    /// Sets the time after which the gathering ends, counted from now. It always applies.
    ///
    /// It is also the deadline of each handler. For a one-way broadcast it is the longest time
    /// until the transport has the call.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.deadline = Deadline::after(timeout);
        self
    }

    /// Ends the gathering as [stalled](super::GatherReason::Stalled) if the next outcome does not
    /// arrive within this time. The default is no limit.
    ///
    /// The time does not count before the first outcome. It counts while [`Gathering::next`] waits,
    /// and not while the program processes an outcome.
    pub fn gap(mut self, gap: Duration) -> Self {
        self.options.gap = Some(gap);
        self
    }

    /// Ends the gathering after this number of outcomes of any kind, at least 1. The default is no
    /// limit.
    pub fn count(mut self, outcomes: usize) -> Self {
        self.options.count = Some(outcomes.max(1));
        self
    }

    /// Ends the gathering after this number of replies, at least 1. The default is no limit.
    pub fn quorum(mut self, replies: usize) -> Self {
        self.options.quorum = Some(replies.max(1));
        self
    }

    /// Sets the [ids](Instance::id) of the instances that are waited for. By default, these are
    /// the instances that are there when the call is sent.
    ///
    /// The call goes to all instances in any case, and an outcome of another one is yielded as
    /// well; when the gathering ends, the others stop. An expected instance that is not there is
    /// silent. An invalid id, which is empty or
    /// longer than an [`Instance`] can have, fails the call later, not here.
    pub fn expect<I: Into<String>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        self.options.expected = Some(ids.into_iter().map(Into::into).collect());
        self.options.is_set_named = true;
        self
    }

    /// Sets a header. A [reserved](crate::Headers::RESERVED) name fails the call later, not here.
    pub fn header(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.message.headers.insert(name, value);
        self
    }

    /// Adds a pair to the baggage of the call; see [`Baggage`].
    pub fn baggage(mut self, key: &str, value: &str) -> Self {
        Baggage::add(&mut self.message.headers, key, value);
        self
    }

    /// Sets the time within which a one-way broadcast must begin; see
    /// [`CallBuilder::ttl`](crate::rpc::CallBuilder::ttl). The default is no limit.
    ///
    /// [`gather`](Self::gather) ignores the option.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Sends the call to each instance, and returns the stream of the outcomes. Resolves when the
    /// transport has the call.
    ///
    /// If the future or the returned stream is dropped, the call is cancelled: each instance stops
    /// its handler.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Config`](crate::ErrorKind::Config) if the method is not an address.
    /// - [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the arguments cannot be encoded.
    /// - [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded) beyond 4,096 gatherings at once.
    /// - [`ErrorKind::DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if the transport did
    ///   not take the call in time.
    /// - Any error of the transport.
    pub async fn gather<T: DeserializeOwned>(
        self,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Gathering<T, D>> {
        // A call that is refused at once touches nothing of tokio.
        consume_budget().await;
        let Self { broadcaster, mut options, .. } = self;
        limit_deadline(&mut options.deadline);
        let expected =
            options.expected.take().map(|ids| ids.into_iter().map(Instance::of_id).collect());
        let expected: Option<Vec<_>> = expected.transpose()?;
        let mut message = Self::encode(broadcaster, self.method?, self.message, args)?;
        let shared = &broadcaster.shared;
        let call = shared.state.begin(expected)?;
        // From here on, dropping the stream ends the gathering.
        let gathering =
            Gathering::new(shared.clone(), broadcaster.dialect.clone(), call, options.clone());
        message.deadline = Some(options.deadline);
        CallerEvent::Call { inbox: shared.inbox.clone(), call }.write(&mut message)?;
        let remaining = options.deadline.remaining();
        shared.send(message, remaining, broadcaster.trace.as_ref()).await?;
        Ok(gathering)
    }

    /// Sends the call to each instance one way: no outcome comes back. Resolves when the transport
    /// has the call. Failures appear in the logs of the instances.
    ///
    /// Dropping the future before it resolves may or may not send the call.
    ///
    /// # Errors
    ///
    /// As [`gather`](Self::gather).
    pub async fn send(self, args: &(impl Serialize + ?Sized)) -> Result<()> {
        consume_budget().await;
        let Self { broadcaster, options, ttl, .. } = self;
        let mut message = Self::encode(broadcaster, self.method?, self.message, args)?;
        message.deadline = ttl.map(Deadline::after);
        CallerEvent::OneWay.write(&mut message)?;
        let remaining = options.deadline.remaining();
        broadcaster.shared.send(message, remaining, broadcaster.trace.as_ref()).await
    }

    /// Writes the method, the arguments and the context of the running handler into a message.
    fn encode(
        broadcaster: &Broadcaster<D>,
        method: Address,
        message: Message,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Message> {
        let mut message = message.with_method(method);
        broadcaster.dialect.encode_call(args, &mut message).map_err(Error::unsent)?;
        propagate(&mut message);
        Ok(message)
    }
}

impl<D> fmt::Debug for BroadcastBuilder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastBuilder").field("method", &self.method).finish_non_exhaustive()
    }
}
