//! The table of a service's methods.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use futures_core::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::report;
use crate::{Address, CallError, Code, Context, Dialect, Fault, Message, Reply, Request, Result, Service};

/// A service made of methods, each an async function.
///
/// A method takes its arguments as one value that serde can read: a tuple, a struct, a number. If it asks for a
/// [`Context`] first, it gets one. It answers with a value that serde can write, or a [`Fault`].
///
/// Names may have dots; [`nest`](Self::nest) puts a router's methods under a word of their own.
///
/// ```
/// # use polywire_codec::Json;
/// use polywire_core::{Code, Context, Fault, Router};
///
/// let math = Router::new(Json)
///     .method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })
///     .method("divide", |(a, b): (i64, i64)| async move {
///         a.checked_div(b).ok_or_else(|| Fault::new(Code::Application, "division by zero"))
///     });
/// let service = Router::new(Json)
///     .method("time_left", |context: Context, (): ()| async move {
///         Ok(context.deadline.map(|deadline| deadline.remaining_ms()))
///     })
///     .nest("math", math);
/// assert_eq!(service.methods(), ["math.add", "math.divide", "time_left"]);
/// ```
pub struct Router<D> {
    dialect: D,
    methods: HashMap<Address, Box<dyn Method<D>>>,
}

impl<D: Dialect> Router<D> {
    /// A router without methods that speaks `dialect`: a codec, or a foreign system's convention.
    #[must_use]
    pub fn new(dialect: D) -> Self {
        Self { dialect, methods: HashMap::new() }
    }

    /// Adds a method.
    ///
    /// # Panics
    ///
    /// If `name` is not an address, or taken: that is a bug in the program, found when it starts.
    #[must_use]
    #[track_caller]
    pub fn method<H, M>(self, name: &str, handler: H) -> Self
    where
        H: Handler<M>,
        M: 'static,
    {
        let address = Address::new(name).unwrap_or_else(|error| refuse(error));
        self.with(address, Box::new(Typed { handler, marker: PhantomData }))
    }

    /// Adds all methods of `inner`, each under `word` and a dot.
    ///
    /// # Panics
    ///
    /// If `word` is not an address, or a name is taken: that is a bug in the program, found when it starts.
    #[must_use]
    #[track_caller]
    pub fn nest(mut self, word: &str, inner: Self) -> Self {
        let word = Address::new(word).unwrap_or_else(|error| refuse(error));
        for (name, method) in inner.methods {
            let name = word.join(&name).unwrap_or_else(|error| refuse(error));
            self = self.with(name, method);
        }
        self
    }

    /// The names of all methods, sorted.
    #[must_use]
    pub fn methods(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.methods.keys().map(Address::as_str).collect();
        names.sort_unstable();
        names
    }

    #[track_caller]
    fn with(mut self, name: Address, method: Box<dyn Method<D>>) -> Self {
        if self.methods.contains_key(&name) {
            refuse(format!("two methods are named {name}"));
        }
        self.methods.insert(name, method);
        self
    }
}

#[track_caller]
#[allow(clippy::panic, reason = "a router that cannot be built is a bug found at start, as documented")]
fn refuse(reason: impl fmt::Display) -> ! {
    panic!("{reason}")
}

impl<D: Dialect> Service for Router<D> {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let method = request.message.method.as_ref().and_then(|name| self.methods.get(name));
        match method {
            Some(method) => method.call(&self.dialect, request).await,
            None => Ok(answer::<D, ()>(&self.dialect, &request, &Err(unknown(&request)))),
        }
    }
}

fn unknown(request: &Request) -> Fault {
    Fault::new(
        Code::MethodNotFound,
        match &request.message.method {
            Some(name) => format!("the service has no method {name}"),
            None => "the request names no method".to_owned(),
        },
    )
}

impl<D> fmt::Debug for Router<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.methods.keys()).finish()
    }
}

/// An async function that can be a method; you never implement it.
///
/// `M` tells apart what the function takes: its arguments, or a [`Context`] and its arguments.
pub trait Handler<M>: Send + Sync + 'static {
    /// What it takes.
    type Args: DeserializeOwned + Send;
    /// What it answers.
    type Output: Serialize + Send;

    /// Runs it.
    fn handle(
        &self,
        request: &Request,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, Fault>> + Send;
}

impl<F, Fut, A, T> Handler<(A,)> for F
where
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Fault>> + Send,
    A: DeserializeOwned + Send,
    T: Serialize + Send,
{
    type Args = A;
    type Output = T;

    fn handle(&self, _: &Request, args: A) -> impl Future<Output = Result<T, Fault>> + Send {
        self(args)
    }
}

impl<F, Fut, A, T> Handler<(Context, A)> for F
where
    F: Fn(Context, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Fault>> + Send,
    A: DeserializeOwned + Send,
    T: Serialize + Send,
{
    type Args = A;
    type Output = T;

    fn handle(&self, request: &Request, args: A) -> impl Future<Output = Result<T, Fault>> + Send {
        self(request.context(), args)
    }
}

/// A handler whose types are forgotten, in its router's table.
trait Method<D>: Send + Sync {
    fn call<'a>(&'a self, dialect: &'a D, request: Request) -> BoxFuture<'a, Result<Reply, CallError>>;
}

struct Typed<H, M> {
    handler: H,
    marker: PhantomData<fn() -> M>,
}

impl<D: Dialect, H: Handler<M>, M> Method<D> for Typed<H, M> {
    fn call<'a>(&'a self, dialect: &'a D, request: Request) -> BoxFuture<'a, Result<Reply, CallError>> {
        Box::pin(async move {
            let outcome = match dialect.decode_call(&request.message) {
                Ok(args) => self.handler.handle(&request, args).await,
                Err(error) => Err(Fault::new(Code::InvalidArguments, report(&error))),
            };
            Ok(answer(dialect, &request, &outcome))
        })
    }
}

/// The reply that says `outcome`, in the format of the request if the dialect knows it.
fn answer<D: Dialect, T: Serialize>(dialect: &D, request: &Request, outcome: &Result<T, Fault>) -> Reply {
    let mut message = Message { content_type: request.message.content_type.clone(), ..Message::default() };
    let failed = outcome.is_err();
    if let Err(error) = dialect.encode_outcome(outcome.as_ref(), &mut message) {
        let what = if failed { "the fault" } else { "the result" };
        message = Message::failed(Fault::new(
            Code::Internal,
            format!("{what} cannot be encoded: {}", report(&error)),
        ));
    }
    Reply::from(message)
}
