//! Routers: services made of methods by name, and of event handlers by topic.

mod at_most_once;
mod erased_handler;
mod extract;
mod handler;
mod handler_options;
mod table;
mod uncancelled;

use std::fmt;
use std::future::{Future, ready};
use std::panic::resume_unwind;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use self::at_most_once::AtMostOnceMethod;
pub use self::at_most_once::{AtMostOnce, at_most_once};
pub(super) use self::erased_handler::Method;
use self::erased_handler::{StatefulHandler, encode_reply};
pub use self::extract::{Extract, FromState, State};
pub use self::handler::Handler;
pub use self::handler_options::{HandlerOptions, Marked};
pub(super) use self::table::Table;
pub use self::uncancelled::{WithOptions, uncancelled};
use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{CallError, Code, Error, Fault, Result};
use crate::message::{Address, Filter};
use crate::panic_containment::contain;
use crate::service::{EncodeReply, Reply, Request, Service};

/// A service made of async functions: methods by their names, event handlers by their topics.
///
/// A handler takes its arguments as one value that serde can read: a tuple, a struct, a number.
/// Before the arguments, a handler may ask for up to four values, in any order. Each is a type that
/// implements [`Extract`]: the [`Context`], the [`Headers`](crate::Headers), the [`State`] of the
/// router, or a type of yours. A handler returns a value that serde can write, or a [`Fault`]. `?`
/// converts every error that a method can [declare](crate::Declared) into a fault.
///
/// [`uncancelled()`] makes a handler run to its end, even if its caller leaves.
///
/// Names may contain dots; [`nest`](Self::nest) puts the methods of a router under a word.
///
/// ```
/// # use polywire_codec::Json;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use polywire_core::{Code, Context, Fault, Router, State};
///
/// async fn divide((a, b): (i64, i64)) -> Result<i64, Fault> {
///     a.checked_div(b).ok_or_else(|| Fault::new(Code::Application, "division by zero"))
/// }
///
/// async fn count(
///     State(calls): State<Arc<AtomicU64>>,
///     context: Context,
///     (): (),
/// ) -> Result<u64, Fault> {
///     println!("{:?} until the deadline", context.remaining());
///     Ok(calls.fetch_add(1, Ordering::Relaxed))
/// }
///
/// let math = Router::new(Json)
///     .method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })
///     .method("divide", divide);
/// let service = Router::with_state(Json, Arc::new(AtomicU64::new(1)))
///     .method("count", count)
///     .nest("math", math);
/// assert_eq!(service.methods(), ["count", "math.add", "math.divide"]);
/// ```
pub struct Router<D, S = ()> {
    dialect: D,
    /// The dialect with its type erased, for early replies.
    encoder: Arc<dyn EncodeReply>,
    state: S,
    pub(super) table: Table<D>,
}

impl<D: Dialect> Router<D> {
    /// Creates a router without methods. Its calls are encoded in `dialect`: a codec, or the
    /// convention of a foreign system.
    #[must_use]
    pub fn new(dialect: D) -> Self {
        Self::with_state(dialect, ())
    }
}

impl<D: Dialect, S: Clone + Send + Sync + 'static> Router<D, S> {
    /// Creates a router whose handlers can ask for `state` by [`State`]. Each request gets a clone.
    #[must_use]
    pub fn with_state(dialect: D, state: S) -> Self {
        let encoder = Arc::new(dialect.clone());
        Self { dialect, encoder, state, table: Table::default() }
    }

    /// Adds a method.
    ///
    /// # Panics
    ///
    /// If `name` is not an address, or the router has a method of that name: a bug in the program,
    /// found when it starts.
    #[must_use]
    #[track_caller]
    pub fn method<H, M>(mut self, name: &str, handler: H) -> Self
    where
        H: Handler<M, S>,
        M: 'static,
    {
        let address = Address::new(name).unwrap_or_else(|error| refuse(error));
        let method = self.method_of(handler);
        self.table.add(address, method).unwrap_or_else(|error| refuse(error));
        self
    }

    /// Adds a handler of the events whose topics match `filter`, for a
    /// [`Listener`](crate::Listener) to [serve](crate::Listener::serve).
    ///
    /// An event runs every handler whose filter matches, concurrently, and succeeds if all of them
    /// succeed. If a handler fails, the others still run to their end; a retry of the event runs
    /// all of them again. An event that matches no filter succeeds.
    ///
    /// ```
    /// # use polywire_codec::MessagePack;
    /// # use polywire_core::{Listener, Memory, Publisher, Result};
    /// use polywire_core::{Context, Router};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// # let transport = Memory::new();
    /// let orders = Router::new(MessagePack)
    ///     .on("*.paid", |amount: f64| async move {
    ///         println!("{amount} more were paid");
    ///         Ok(())
    ///     })
    ///     .on("#", |context: Context, _: f64| async move {
    ///         println!("{:?}", context.topic);
    ///         Ok(())
    ///     });
    /// let listener = Listener::bind(&transport, "orders", MessagePack).await?;
    /// # let handle = listener.handle();
    /// tokio::spawn(listener.serve(orders));
    /// # let orders = Publisher::connect(&transport, "orders", MessagePack).await?;
    /// # orders.publish("7.paid", &19.9).await?;
    /// # while handle.stats().done == 0 { tokio::task::yield_now().await }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If `filter` is not a filter: a bug in the program, found when it starts.
    #[must_use]
    #[track_caller]
    pub fn on<H, M>(mut self, filter: impl TryInto<Filter, Error: Into<Error>>, handler: H) -> Self
    where
        H: Handler<M, S>,
        M: 'static,
    {
        let filter = filter.try_into().unwrap_or_else(|error| refuse::<Error>(error.into()));
        let handler = self.method_of(handler);
        self.table.add_event(filter, handler);
        self
    }

    /// Adds all methods of `inner`, each under `word` and a dot, with their own state. Event
    /// handlers are added unchanged.
    ///
    /// [`Client::nested`](crate::Client::nested) calls such methods by their own names.
    ///
    /// # Panics
    ///
    /// If `word` is not an address, or a name is in use: a bug in the program, found when it
    /// starts.
    #[expect(clippy::needless_pass_by_value, reason = "the parts of a router are given to it")]
    #[must_use]
    #[track_caller]
    pub fn nest<T>(mut self, word: &str, inner: Router<D, T>) -> Self {
        let word = Address::new(word).unwrap_or_else(|error| refuse(error));
        self.table.nest(&word, &inner.table).unwrap_or_else(|error| refuse(error));
        self
    }

    /// Marks all methods that were added so far, nested ones included: no call of them is ever
    /// begun twice, as with [`at_most_once()`] for a single handler.
    ///
    /// The caller's permission is asked for before the arguments are decoded.
    #[must_use]
    pub fn at_most_once(self) -> Self {
        Self { table: self.table.map(|method| Arc::new(AtMostOnceMethod(method))), ..self }
    }

    /// Gives a handler the state of the router, and erases its types.
    pub(super) fn method_of<H, M>(&self, handler: H) -> Arc<dyn Method<D>>
    where
        H: Handler<M, S>,
        M: 'static,
    {
        Arc::new(StatefulHandler::new(handler, self.state.clone()))
    }
}

#[track_caller]
#[allow(
    clippy::panic,
    reason = "a router that cannot be built is a bug found at start, as documented"
)]
fn refuse<E: fmt::Display>(reason: E) -> ! {
    panic!("{reason}")
}

impl<D, S> Router<D, S> {
    /// Returns the names of all methods, sorted.
    #[must_use]
    pub fn methods(&self) -> Vec<&str> {
        self.table.names()
    }

    /// Iterates over the filters of all event handlers, for a listener that subscribes to nothing
    /// else.
    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.table.filters()
    }
}

impl<D: Dialect, S: Send + Sync + 'static> Service for Router<D, S> {
    // Boxed as a whole, so that the futures of a server do not each embed it.
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        let context = match &request.reply_slot {
            Some(slot) => {
                slot.set_encoder(&self.encoder);
                None
            }
            // A handler calls this router in its own process. The slot in the context belongs to
            // the handler's caller.
            None => Context::without_reply_slot(),
        };
        let reply = self.dispatch(request);
        match context {
            Some(context) => context.carry(reply).boxed(),
            None => reply,
        }
    }
}

impl<D: Dialect, S: Send + Sync + 'static> Router<D, S> {
    /// Runs the method or the event handlers that the request names.
    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Reply, CallError>> {
        let method = request.message.method.as_ref().and_then(|name| self.table.method(name));
        match (method, &request.message.topic) {
            (Some(method), _) => method.call(&self.dialect, request),
            (None, Some(_)) if self.table.handles_events() => self.run_event(request).boxed(),
            _ => ready(Ok(self.not_found(&request))).boxed(),
        }
    }
}

impl<D: Dialect, S> Router<D, S> {
    /// Runs all handlers of the topic to their end, even if one panics. Returns the reply of the
    /// first handler that failed, if there is one.
    async fn run_event(&self, request: Request) -> Result<Reply, CallError> {
        let handlers = self.table.handlers_of(request.message.topic.as_ref());
        let running = handlers.map(|handler| contain(handler.call_shared(&self.dialect, &request)));
        let (mut failed, mut panicked) = (None, None);
        for outcome in join_all(running).await {
            match outcome {
                Ok(reply) if reply.message.fault.is_some() => drop(failed.get_or_insert(reply)),
                Ok(_) => {}
                Err(panic) => drop(panicked.get_or_insert(panic)),
            }
        }
        match panicked {
            // With the message alone: a payload of the program may panic when it is dropped.
            Some(panic) => resume_unwind(Box::new(panic.message().to_owned())),
            None => Ok(failed.unwrap_or_default()),
        }
    }

    fn not_found(&self, request: &Request) -> Reply {
        let message = match &request.message.method {
            Some(name) => format!("the service has no method {name}"),
            None => "the request names no method".to_owned(),
        };
        let fault = Fault::new(Code::MethodNotFound, message);
        encode_reply::<D, ()>(&self.dialect, request, &Err(fault))
    }
}

/// A clone shares the handlers and the state.
impl<D: Clone, S: Clone> Clone for Router<D, S> {
    fn clone(&self) -> Self {
        let (dialect, encoder) = (self.dialect.clone(), self.encoder.clone());
        Self { dialect, encoder, state: self.state.clone(), table: self.table.clone() }
    }
}

impl<D, S> fmt::Debug for Router<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("methods", &self.methods())
            .field("events", &self.filters().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
