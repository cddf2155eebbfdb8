//! The settings of the dialect.

use std::sync::Arc;

use polywire_core::{Code, Fault};

use super::exceptions::Exceptions;
use crate::format::Format;

/// The wire format of [nameko](https://pypi.org/project/nameko/), 2 and 3.
///
/// A service serves native callers and those of nameko at once, over the connections of one
/// [`Amqp`](polywire_amqp::Amqp):
///
/// ```no_run
/// use polywire_amqp::Amqp;
/// use polywire_codec::Json;
/// use polywire_core::{CallError, Client, Router, Server};
/// use polywire_dialects::Nameko;
///
/// # async fn serve() -> Result<(), CallError> {
/// async fn add((a, b): (i64, i64)) -> Result<i64, polywire_core::Fault> {
///     Ok(a + b)
/// }
///
/// let amqp = Amqp::connect("amqp://guest:guest@localhost").await?;
/// let native = Server::bind(&amqp, "math").await?;
/// tokio::spawn(native.serve(Router::new(Json).method("add", add)));
///
/// let nameko = amqp.with_layout(Nameko::new());
/// let foreign = Server::bind(&nameko, "math").await?;
/// tokio::spawn(foreign.serve(Router::new(Nameko::new()).method("add", add)));
///
/// // As `rpc.math.add(2, 3)` of nameko.
/// let math = Client::connect(&nameko, "math", Nameko::new()).await?;
/// assert_eq!(math.call::<i64>("add", &(2, 3)).await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # Arguments
///
/// A tuple or a list is the positional arguments, and a map or a struct the named ones. A map with
/// the names `0`, `1` and so on is mixed, as [`Args`](polywire_core::rpc::Args) writes it. Any
/// other value is one positional argument. A handler gets the arguments in the same form; one that
/// takes a plain value, such as a number, gets the only argument.
///
/// The name of a method has no dot.
///
/// # Errors
///
/// An exception becomes a [`Fault`] whose kind is the name of its class, whose message is its text,
/// and whose details are its arguments. The code is [`Code::Application`] unless
/// [`exception`](Self::exception) says otherwise. A method with a
/// [declared error](polywire_core::Declared) gets that error by the same kind.
///
/// A fault becomes an exception: that of [`exception`](Self::exception) with its details as the
/// arguments, if the details are a list; else `polywire.CODE`, which nameko raises as
/// `RemoteError`. The mark of a permanent fault does not cross the wire.
///
/// # Context data
///
/// A value of nameko's context data is a pair of the [baggage](polywire_core::context::Baggage),
/// and its call-id stack the [call stack](polywire_core::context::CallStack). Both pass on to the
/// calls of a handler. Numbers become text.
///
/// # Events
///
/// The [`channel`](polywire_core::Publisher) is the dispatching service, the topic the type of the
/// event. A [group](polywire_core::Group) `SERVICE.METHOD` is a handler of type `SERVICE_POOL`,
/// with reliable delivery if it is durable; [`SINGLETON`](super::SINGLETON) is the group of that
/// type; no group is `BROADCAST`. A subscriber has one filter.
///
/// # Formats
///
/// A server reads JSON and MessagePack, and replies in the format of the request. A client writes
/// JSON, unless [`message_pack`](Self::message_pack) is set.
#[derive(Clone, Debug)]
pub struct Nameko {
    pub(super) format: Format,
    pub(super) rpc_exchange: Arc<str>,
    pub(super) exceptions: Arc<Exceptions>,
}

impl Nameko {
    /// Creates the format with nameko's own defaults: JSON, the exchange `nameko-rpc`, the
    /// exceptions of nameko and the common ones of Python.
    #[must_use]
    pub fn new() -> Self {
        let exceptions = Arc::new(Exceptions::standard());
        Self { format: Format::Json, rpc_exchange: "nameko-rpc".into(), exceptions }
    }

    /// Writes MessagePack: nameko's setting `serializer: msgpack`.
    #[must_use]
    pub fn message_pack(self) -> Self {
        Self { format: Format::MessagePack, ..self }
    }

    /// Sets the exchange of all calls: nameko's setting `rpc_exchange`. The default is
    /// `nameko-rpc`.
    #[must_use]
    pub fn rpc_exchange(self, name: &str) -> Self {
        Self { rpc_exchange: name.into(), ..self }
    }

    /// Translates an exception in both directions: the exception of this path, such as
    /// `shop.exceptions.OutOfStock`, is a fault with this code and this kind. A later call wins
    /// over an earlier one and over the defaults.
    ///
    /// A nameko client that has registered the exception builds it from the list of arguments. So
    /// the [details](Fault::value) of such a fault are a list that fits its constructor.
    ///
    /// ```
    /// use polywire_core::Code;
    /// use polywire_dialects::Nameko;
    ///
    /// let nameko =
    ///     Nameko::new().exception("shop.exceptions.OutOfStock", Code::Application, "OutOfStock");
    /// # let _ = nameko;
    /// ```
    #[must_use]
    pub fn exception(mut self, path: &str, code: Code, kind: &str) -> Self {
        Arc::make_mut(&mut self.exceptions).add(path, code, kind);
        self
    }

    /// Creates the fault of a Python exception with these arguments: `ValueError("boom", 42)`.
    ///
    /// Its message is the text that Python gives such an exception if all arguments are strings;
    /// set another by the field.
    ///
    /// ```
    /// use polywire_dialects::Nameko;
    ///
    /// let fault = Nameko::raised("ValueError", "out of range", vec!["out of range"]);
    /// assert_eq!(fault.kind, "ValueError");
    /// ```
    #[must_use]
    pub fn raised(
        kind: &str,
        message: &str,
        arguments: impl serde::Serialize + Send + Sync + 'static,
    ) -> Fault {
        Fault::new(Code::Application, message).with_kind(kind).with_value(arguments)
    }
}

impl Default for Nameko {
    fn default() -> Self {
        Self::new()
    }
}
