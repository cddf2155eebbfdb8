//! Replies that a handler sends before it ends.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;

use super::router::Extract;
use crate::context::Context;
use crate::error::{Fault, Result};
use crate::service::{ReplySlot, Request};

/// A handle by which a handler replies before it ends.
///
/// A handler asks for a replier before its arguments. A method of `#[service]` gets it by
/// [`Replier::current`].
///
/// After the reply is sent, the return value of the handler is not sent. A failure is logged, and
/// counted in [`ServerStats::failed_late`](crate::rpc::ServerStats::failed_late). The handler no
/// longer ends by the caller's deadline, nor when the caller cancels. Calls that the handler makes
/// from then on have deadlines of their own.
///
/// The request counts for the [`Window`](crate::Window), and is not settled, until the handler
/// ends. If this server dies before, the request is redelivered to another server, whose reply is
/// dropped. RabbitMQ redelivers a request that is not settled within its `consumer_timeout`, which
/// is 30 minutes.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Server};
/// use polywire_core::{Fault, Replier, Router};
///
/// async fn order(replier: Replier<u64>, article: String) -> Result<(), Fault> {
///     replier.reply(&7).await?;
///     println!("the caller has the number; {article} is packed now");
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
    slot: Option<Arc<ReplySlot>>,
    marker: PhantomData<fn(&T)>,
}

impl<T: Serialize + ?Sized> Replier<T> {
    /// Returns the replier of the running handler.
    #[must_use]
    pub fn current() -> Self {
        Self::of(Context::current_reply_slot())
    }

    fn of(slot: Option<Arc<ReplySlot>>) -> Self {
        Self { slot: slot.filter(|slot| slot.has_caller()), marker: PhantomData }
    }

    /// Returns `true` if a caller waits for a reply that can still be sent.
    ///
    /// One-way calls, jobs and events have no such caller. A client of a router in the same process
    /// gets the return value of the handler instead.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_open())
    }

    /// Sends the result to the caller; does nothing if [no caller waits](Self::is_awaited).
    ///
    /// Resolves when the transport has the reply in the strongest sense that it supports.
    ///
    /// Dropping the future may or may not send the reply. The return value of the handler is not
    /// sent then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) if the caller has a reply already, or the
    /// handler has ended. [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the result cannot be
    /// encoded, or the error of the transport if it cannot send; in these cases the caller gets the
    /// return value of the handler.
    pub async fn reply(self, result: &T) -> Result<()> {
        let Some(slot) = self.slot else { return Ok(()) };
        let reply = slot.encode(&result)?;
        slot.send(reply).await
    }
}

impl<T: Serialize + ?Sized, S> Extract<S> for Replier<T> {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        Ok(Self::of(request.reply_slot.clone()))
    }
}

impl<T: ?Sized> fmt::Debug for Replier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replier")
    }
}
