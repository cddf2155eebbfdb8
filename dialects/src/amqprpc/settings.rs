//! The settings of the dialect.

use std::sync::Arc;

use polywire_core::Code;

use super::error_texts::ErrorTexts;
use crate::format::Format;

/// The wire format of amqprpc: [py-amqprpc](https://github.com/vbogretsov/py-amqprpc) and
/// [go-amqprpc](https://github.com/vbogretsov/go-amqprpc).
///
/// A service serves native callers and those of amqprpc at once, over the connections of one
/// [`Amqp`](polywire_amqp::Amqp):
///
/// ```no_run
/// use polywire_amqp::Amqp;
/// use polywire_core::{CallError, Client, Fault, Router, Server};
/// use polywire_dialects::Amqprpc;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, Serialize)]
/// #[serde(rename_all = "PascalCase")]
/// struct Pair {
///     a: i64,
///     b: i64,
/// }
///
/// # async fn serve() -> Result<(), CallError> {
/// let wire = Amqprpc::new().object("Demo");
/// let amqp = Amqp::connect("amqp://guest:guest@localhost").await?.with_layout(wire.clone());
/// let server = Server::bind(&amqp, "demo").await?;
/// let methods = Router::new(wire.clone())
///     .method("Add", |pair: Pair| async move { Ok::<_, Fault>(pair.a + pair.b) });
/// tokio::spawn(server.serve(methods));
///
/// // As `client.Call("Demo.Add", Args{2, 3}, &sum)` of Go.
/// let demo = Client::connect(&amqp, "demo", wire).await?;
/// assert_eq!(demo.call::<i64>("Add", &Pair { a: 2, b: 3 }).await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// All settings count for the transport of [`Amqp::with_layout`](polywire_amqp::Amqp::with_layout).
/// A client and a router use the format alone, so a program gives all of them the same value.
///
/// # The argument
///
/// A method has one argument. A struct, a map, or a plain value is the argument itself, and a tuple
/// or a list of one element holds the argument. No arguments are null. A longer list is an error of
/// the caller: a list as the argument is `(list,)`.
///
/// A handler that takes a tuple of one element gets the argument in the tuple, and a handler that
/// takes `()` ignores the argument. A struct is read from a map by its names; its first field
/// is read from an argument that is no map. So the methods of `#[service]` have the fields of the
/// argument as their arguments: `add(a, b)` is called with `{"a": 2, "b": 3}`.
///
/// # Methods
///
/// A method is `Object.Method`, or a plain name for a function of Python. With
/// [`object`](Self::object), methods of that object have no prefix in the program. Names that a Go
/// program serves or calls begin with capitals.
///
/// # Errors
///
/// An error is a text on this wire. A text that [`error`](Self::error) knows is a
/// [`Fault`](polywire_core::Fault) with that code and that kind. Else, `Kind: message` is a
/// fault of [`Code::Application`] with that kind if the kind is like the name of a type, and any
/// other text is the message of a fault of [`Code::Application`] without a kind of its own.
///
/// A fault becomes a text by the same rules. A fault with another code, and no entry of its own,
/// is `polywire.CODE: message` or `polywire.CODE.KIND: message`. Texts are cut after 8,192 bytes.
/// The details of a fault and the mark of a permanent one do not cross the wire.
///
/// # Formats
///
/// A message does not name its format, so both sides need the same one: JSON, or MessagePack with
/// [`message_pack`](Self::message_pack).
///
/// # Delivery
///
/// The request queue is neither durable nor exclusive, since every peer declares it so. Recent
/// builds of RabbitMQ may deny such queues: see [`durable_queue`](Self::durable_queue).
/// Servers of amqprpc take their requests without an acknowledgment, so that what they hold is lost
/// with them. A server of polywire acknowledges after the reply, and its requests go on to another
/// server.
#[derive(Clone, Debug)]
pub struct Amqprpc {
    pub(super) format: Format,
    pub(super) object: Option<Arc<str>>,
    pub(super) is_durable: bool,
    pub(super) errors: Arc<ErrorTexts>,
}

impl Amqprpc {
    /// Creates the format with JSON, without an object, and with the error texts that amqprpc
    /// itself has.
    #[must_use]
    pub fn new() -> Self {
        let errors = Arc::new(ErrorTexts::standard());
        Self { format: Format::Json, object: None, is_durable: false, errors }
    }

    /// Reads and writes MessagePack. The default is JSON.
    #[must_use]
    pub fn message_pack(self) -> Self {
        Self { format: Format::MessagePack, ..self }
    }

    /// Sets the object of the methods: the class that a server of Python registers, or the type
    /// of a server of Go. The default is none.
    ///
    /// A client calls the method `Add` as `OBJECT.Add`; a name with a dot stays as it is. A server
    /// gets `OBJECT.Add` as `Add`, and any other name as it is.
    #[must_use]
    pub fn object(self, name: &str) -> Self {
        Self { object: Some(name.into()), ..self }
    }

    /// Declares the request queue as durable, for a broker that denies queues which are neither
    /// durable nor exclusive. The default is a queue that is not durable, as that of all peers.
    ///
    /// Every peer of the queue has to declare it so: the broker refuses any other declaration. The
    /// packages of Python and Go have no setting for it.
    #[must_use]
    pub fn durable_queue(self) -> Self {
        Self { is_durable: true, ..self }
    }

    /// Translates an error in both directions: a text that begins with `start` is a fault with
    /// this code and this kind, whose message is the rest of the text. A later call wins over an
    /// earlier one and over the defaults.
    ///
    /// If there is no rest, the message is the whole text. An empty `start` begins every text.
    ///
    /// ```
    /// use polywire_core::Code;
    /// use polywire_dialects::Amqprpc;
    ///
    /// let wire = Amqprpc::new().error("out of stock: ", Code::Application, "OutOfStock");
    /// # let _ = wire;
    /// ```
    #[must_use]
    pub fn error(mut self, start: &str, code: Code, kind: &str) -> Self {
        Arc::make_mut(&mut self.errors).add(start, code, kind);
        self
    }

    /// Returns the name of a method on the wire.
    pub(super) fn wire_name(&self, method: &str) -> String {
        match &self.object {
            Some(object) if !method.contains('.') => format!("{object}.{method}"),
            _ => method.to_owned(),
        }
    }

    /// Returns the name of a method in the program.
    pub(super) fn method_name<'n>(&self, name: &'n str) -> &'n str {
        let object = self.object.as_deref();
        let method = object.and_then(|object| name.strip_prefix(object)?.strip_prefix('.'));
        method.unwrap_or(name)
    }
}

impl Default for Amqprpc {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_is_a_prefix_on_the_wire_alone() {
        let (plain, object) = (Amqprpc::new(), Amqprpc::new().object("Demo"));
        for (program, of_plain, of_object) in
            [("Add", "Add", "Demo.Add"), ("Other.Add", "Other.Add", "Other.Add")]
        {
            assert_eq!(plain.wire_name(program), of_plain);
            assert_eq!(object.wire_name(program), of_object);
            assert_eq!(object.method_name(of_object), program);
        }
        assert_eq!(object.method_name("Demo2.Add"), "Demo2.Add");
        assert_eq!(plain.method_name("Demo.Add"), "Demo.Add");
    }
}
