//! Answering a caller before the handler has ended.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytestring::ByteString;
use serde::Serialize;

use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::{CallId, Message, ReplyTo};
use crate::rpc::Extract;
use crate::service::Request;
use crate::transport::Sender;

/// ReplyCache the caller while the handler goes on working. A handler asks for it before its
/// arguments; a method of `#[service]`, by [`Replier::current`].
///
/// Once the caller is answered, what the handler returns is not sent: a failure is logged, and
/// counted in [`ServerStats::failed_late`](crate::rpc::ServerStats::failed_late). Nor do the
/// caller's deadline, and the caller, end the handler any more; what it calls from then on has
/// deadlines of its own.
///
/// The request counts for the [`Window`](crate::Window), and is not settled, until the handler
/// ends. So the work goes to another server if this one dies, as it does with any handler, and
/// nobody waits for what that one answers. RabbitMQ gives a request to somebody else that was not
/// settled within its `consumer_timeout`, which is 30 minutes.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Server};
/// use polywire_core::{Fault, Replier, Router};
///
/// async fn order(replier: Replier<u64>, article: String) -> Result<(), Fault> {
///     replier.reply(&7).await?;
///     println!("{article} is packed while the caller has its number already");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// let router = Router::new(MessagePack).method("order", order);
/// # let transport = Memory::new();
/// # tokio::spawn(Server::bind(&transport, "shop").await?.serve(router));
/// # let client = Client::connect(&transport, "shop", MessagePack).await?;
/// let number: u64 = client.call("order", "hat").await?;
/// # assert_eq!(number, 7);
/// # Ok(())
/// # }
/// ```
pub struct Replier<T: ?Sized> {
    asker: Option<Arc<ReplySlot>>,
    marker: PhantomData<fn(&T)>,
}

impl<T: Serialize + ?Sized> Replier<T> {
    /// That of the call in whose handler this is asked.
    #[must_use]
    pub fn current() -> Self {
        Self::of(Context::asker())
    }

    fn of(asker: Option<Arc<ReplySlot>>) -> Self {
        Self { asker, marker: PhantomData }
    }

    /// Whether somebody waits who can be answered. Nobody does in a oneway call, for a job and for
    /// an event; and a client of a router in the same process gets what the handler returns.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.asker.as_ref().is_some_and(|asker| matches!(*asker.state(), State::Open))
    }

    /// ReplyCache the caller with this result; with nobody [there](Self::is_awaited), does nothing.
    /// Resolves when the transport has the reply in the strongest sense it knows.
    ///
    /// Dropping the future leaves it open whether the caller is answered; what the handler returns
    /// is not sent then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the result cannot be encoded, [`ErrorKind::Closed`] if the caller
    /// was answered already, or the handler has ended, or what the transport says if it cannot
    /// take the reply. But for `Closed`, the caller then gets what the handler returns.
    pub async fn reply(self, result: &T) -> Result<()> {
        let Some(asker) = self.asker else { return Ok(()) };
        let reply = asker.encode(&result)?;
        asker.answer(reply).await
    }
}

impl<T: Serialize + ?Sized, S> Extract<S> for Replier<T> {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        Ok(Self::of(request.asker.clone()))
    }
}

impl<T: ?Sized> fmt::Debug for Replier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replier")
    }
}

/// A caller who waits, as the server and the handler know it.
pub(crate) struct ReplySlot {
    sender: Sender,
    id: Option<CallId>,
    reply_to: ReplyTo,
    /// The format of the request.
    content_type: Option<ByteString>,
    /// Who can write a reply, set by the router that knows how.
    encoder: OnceLock<Arc<dyn Encode>>,
    state: Mutex<State>,
}

enum State {
    Open,
    Answered(Box<Message>),
    /// The handler has ended.
    Over,
}

impl ReplySlot {
    pub(super) fn new(sender: Sender, request: &Message, reply_to: ReplyTo) -> Self {
        let (id, content_type) = (request.id, request.content_type.clone());
        Self {
            sender,
            id,
            reply_to,
            content_type,
            encoder: OnceLock::new(),
            state: Mutex::new(State::Open),
        }
    }

    /// Says in what replies are written.
    pub(super) fn speaks(&self, encoder: &Arc<dyn Encode>) {
        self.encoder.get_or_init(|| encoder.clone());
    }

    /// Whether the caller has its answer while the handler runs.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(*self.state(), State::Answered(_))
    }

    /// Notes that the handler has ended; the answer that the caller has got before.
    pub(super) fn end(&self) -> Option<Message> {
        match std::mem::replace(&mut *self.state(), State::Over) {
            State::Answered(reply) => Some(*reply),
            State::Open | State::Over => None,
        }
    }

    fn encode(&self, result: &dyn erased_serde::Serialize) -> Result<Message> {
        let mut reply = Message { content_type: self.content_type.clone(), ..Message::default() };
        let encoder = self
            .encoder
            .get()
            .ok_or_else(|| Error::unsupported("early replies without a router"))?;
        encoder.encode(result, &mut reply)?;
        Ok(reply)
    }

    async fn answer(&self, reply: Message) -> Result<()> {
        self.begin(&reply)?;
        let message = Message { id: self.id, reply_to: Some(self.reply_to.clone()), ..reply };
        self.sender.send(message).await.inspect_err(|_| self.reopen())
    }

    /// Makes this the answer, of which there is one. It is no matter that it is not sent yet: from
    /// here on no other is.
    fn begin(&self, reply: &Message) -> Result<()> {
        let mut state = self.state();
        let because = match *state {
            State::Open => {
                *state = State::Answered(Box::new(reply.clone()));
                return Ok(());
            }
            State::Answered(_) => "the caller was answered already",
            State::Over => "the handler has ended",
        };
        Err(Error::new(ErrorKind::Closed, because))
    }

    fn reopen(&self) {
        let mut state = self.state();
        if matches!(*state, State::Answered(_)) {
            *state = State::Open;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReplySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A dialect, as far as results are concerned, whatever its type.
pub(crate) trait Encode: Send + Sync {
    fn encode(&self, result: &dyn erased_serde::Serialize, reply: &mut Message) -> Result<()>;
}

impl<D: Dialect> Encode for D {
    fn encode(&self, result: &dyn erased_serde::Serialize, reply: &mut Message) -> Result<()> {
        self.encode_outcome(Ok(result), reply)
    }
}
