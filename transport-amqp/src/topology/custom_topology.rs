//! Exchanges, queues and bindings of the program's own, as data.

use std::collections::BTreeMap;

use polywire_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::topology::argument_value::ArgumentValue;

/// Exchanges, queues and bindings under names of the program's own.
///
/// [`AmqpBuilder::topology`](crate::AmqpBuilder::topology) declares them when the transport
/// connects, after each reconnect, and at each
/// [check](crate::AmqpBuilder::topology_check). [`QueueOptions::named`](crate::QueueOptions::named)
/// makes a service, a job queue or a group use such a queue, and
/// [`AmqpBuilder::channel_exchange`](crate::AmqpBuilder::channel_exchange) a channel of events such
/// an exchange. No program needs a topology: all handles declare what they use.
///
/// The fields are read by [`serde`], so that the topology may come from a file:
///
/// In any order of the calls, exchanges are declared before queues, and queues before bindings.
///
/// ```
/// use polywire_amqp::{BindingDeclaration, ExchangeDeclaration, ExchangeKind, QueueDeclaration};
/// use polywire_amqp::Topology;
///
/// let file = r#"{
///     "exchanges": [{ "name": "orders", "kind": "topic" }],
///     "queues": [{ "name": "orders.eu", "arguments": { "x-max-length": 10000 } }],
///     "bindings": [{ "exchange": "orders", "queue": "orders.eu", "routing_key": "eu.#" }]
/// }"#;
/// let read: Topology = serde_json::from_str(file).unwrap();
/// let built = Topology::new()
///     .exchange(ExchangeDeclaration::new("orders", ExchangeKind::Topic))
///     .queue(QueueDeclaration::new("orders.eu").argument("x-max-length", 10_000))
///     .binding(BindingDeclaration::queue("orders", "orders.eu").routing_key("eu.#"));
/// assert_eq!(read, built);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "a topology does nothing by itself"]
pub struct Topology {
    pub(super) exchanges: Vec<ExchangeDeclaration>,
    pub(super) queues: Vec<QueueDeclaration>,
    pub(super) bindings: Vec<BindingDeclaration>,
}

/// Declaration of an exchange. It is durable by default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a declaration does nothing by itself"]
pub struct ExchangeDeclaration {
    pub(super) name: String,
    #[serde(default)]
    pub(super) kind: ExchangeKind,
    #[serde(default = "yes")]
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) auto_delete: bool,
    #[serde(default)]
    pub(super) passive: bool,
    #[serde(default)]
    pub(super) arguments: BTreeMap<String, ArgumentValue>,
}

/// Declaration of a queue. It is durable by default, and a classic queue unless the argument
/// `x-queue-type` names another type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a declaration does nothing by itself"]
pub struct QueueDeclaration {
    pub(super) name: String,
    #[serde(default = "yes")]
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) auto_delete: bool,
    #[serde(default)]
    pub(super) passive: bool,
    #[serde(default)]
    pub(super) arguments: BTreeMap<String, ArgumentValue>,
}

/// Binding of a queue or of an exchange to an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a binding does nothing by itself"]
pub struct BindingDeclaration {
    /// Name of the exchange whose messages are routed.
    pub(super) exchange: String,
    /// Name of the queue that gets the messages.
    #[serde(default)]
    pub(super) queue: Option<String>,
    /// Name of the exchange that gets the messages, in place of a queue.
    #[serde(default)]
    pub(super) to_exchange: Option<String>,
    #[serde(default)]
    pub(super) routing_key: String,
    #[serde(default)]
    pub(super) arguments: BTreeMap<String, ArgumentValue>,
}

/// The rule by which an exchange routes.
///
/// The kinds are those of AMQP 0-9-1, section 3.1.3. A file names them in lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ExchangeKind {
    /// Messages go to the queues that are bound with their routing key.
    Direct,
    /// Messages go to all bound queues.
    Fanout,
    /// Messages go to the queues whose binding key matches, with `*` and `#`. The default.
    #[default]
    Topic,
    /// Messages go to the queues whose binding arguments match the headers.
    Headers,
}

fn yes() -> bool {
    true
}

impl Topology {
    /// Creates an empty topology.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an exchange.
    pub fn exchange(mut self, exchange: ExchangeDeclaration) -> Self {
        self.exchanges.push(exchange);
        self
    }

    /// Adds a queue.
    pub fn queue(mut self, queue: QueueDeclaration) -> Self {
        self.queues.push(queue);
        self
    }

    /// Adds a binding.
    pub fn binding(mut self, binding: BindingDeclaration) -> Self {
        self.bindings.push(binding);
        self
    }

    /// Returns whether there is nothing to declare.
    pub(crate) fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.queues.is_empty() && self.bindings.is_empty()
    }

    /// Checks names and destinations.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] with the setting, its value and the reason.
    pub(crate) fn validate(&self) -> Result<()> {
        for ExchangeDeclaration { name, passive, arguments, .. } in &self.exchanges {
            check_name("exchange", name, *passive)?;
            check_arguments(name, arguments)?;
        }
        for QueueDeclaration { name, passive, arguments, .. } in &self.queues {
            check_name("queue", name, *passive)?;
            check_arguments(name, arguments)?;
        }
        for binding in &self.bindings {
            let BindingDeclaration { exchange, queue, to_exchange, routing_key, arguments } =
                binding;
            let destinations = [queue, to_exchange].into_iter().flatten();
            for name in destinations.clone().chain([exchange]) {
                check_name("binding", name, true)?;
            }
            if destinations.count() != 1 {
                let cause = "a binding has either queue or to_exchange";
                return Err(invalid("binding", exchange, cause));
            }
            if routing_key.len() > NAME_MAX {
                return Err(invalid("routing_key", routing_key, "at most 255 bytes"));
            }
            check_arguments(exchange, arguments)?;
        }
        Ok(())
    }
}

impl ExchangeDeclaration {
    /// Creates the declaration of a durable exchange.
    ///
    /// The name has 1 to 255 bytes. A name that begins with `amq.` is for a passive declaration
    /// alone. [`build`](crate::AmqpBuilder::build) reports any other name.
    pub fn new(name: impl Into<String>, kind: ExchangeKind) -> Self {
        let (name, arguments) = (name.into(), BTreeMap::new());
        Self { name, kind, durable: true, auto_delete: false, passive: false, arguments }
    }

    /// Sets whether the exchange survives a restart of the broker. The default is true.
    pub fn durable(self, durable: bool) -> Self {
        Self { durable, ..self }
    }

    /// Lets the broker delete the exchange with its last binding. The default is not to.
    pub fn auto_delete(self) -> Self {
        Self { auto_delete: true, ..self }
    }

    /// Only checks that the exchange exists, with any options, and creates none.
    ///
    /// The other options of the declaration have no effect then.
    pub fn passive(self) -> Self {
        Self { passive: true, ..self }
    }

    /// Sets an argument, such as `alternate-exchange`.
    ///
    /// A second call for a name replaces the value.
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<ArgumentValue>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }
}

impl QueueDeclaration {
    /// Creates the declaration of a durable queue.
    ///
    /// The name has 1 to 255 bytes. A name that begins with `amq.` is for a passive declaration
    /// alone. [`build`](crate::AmqpBuilder::build) reports any other name.
    pub fn new(name: impl Into<String>) -> Self {
        let (name, arguments) = (name.into(), BTreeMap::new());
        Self { name, durable: true, auto_delete: false, passive: false, arguments }
    }

    /// Sets whether the queue survives a restart of the broker. The default is true.
    pub fn durable(self, durable: bool) -> Self {
        Self { durable, ..self }
    }

    /// Lets the broker delete the queue with its last consumer. The default is not to.
    pub fn auto_delete(self) -> Self {
        Self { auto_delete: true, ..self }
    }

    /// Only checks that the queue exists, with any options, and creates none.
    ///
    /// The other options of the declaration have no effect then.
    pub fn passive(self) -> Self {
        Self { passive: true, ..self }
    }

    /// Sets an argument, such as `x-queue-type` or `x-max-length`.
    ///
    /// A second call for a name replaces the value.
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<ArgumentValue>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }
}

impl BindingDeclaration {
    /// Creates a binding of a queue to an exchange, with an empty routing key.
    pub fn queue(exchange: impl Into<String>, queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), to_exchange: None, ..Self::exchange(exchange, "") }
    }

    /// Creates a binding of the exchange `to` to an exchange, with an empty routing key.
    pub fn exchange(exchange: impl Into<String>, to: impl Into<String>) -> Self {
        let (exchange, to_exchange) = (exchange.into(), Some(to.into()));
        let (routing_key, arguments) = (String::new(), BTreeMap::new());
        Self { exchange, queue: None, to_exchange, routing_key, arguments }
    }

    /// Sets the routing key, which is a pattern at a topic exchange.
    ///
    /// A key has at most 255 bytes, and the default is empty.
    pub fn routing_key(self, key: impl Into<String>) -> Self {
        Self { routing_key: key.into(), ..self }
    }

    /// Sets an argument: a header to match, or `x-match`.
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<ArgumentValue>) -> Self {
        self.arguments.insert(name.into(), value.into());
        self
    }
}

/// Checks the name of a declaration. The broker reserves names that begin with `amq.`.
fn check_name(what: &'static str, name: &str, exists: bool) -> Result<()> {
    let cause = match name {
        "" => "a name has at least one byte",
        name if name.len() > NAME_MAX => "a name has at most 255 bytes",
        name if name.starts_with("amq.") && !exists => "the broker reserves names with amq.",
        _ => return Ok(()),
    };
    Err(invalid(what, name, cause))
}

fn check_arguments(of: &str, arguments: &BTreeMap<String, ArgumentValue>) -> Result<()> {
    match arguments.keys().find(|name| name.is_empty() || name.len() > NAME_MAX) {
        None => Ok(()),
        Some(name) => {
            let cause = "the name of an argument has 1 to 255 bytes";
            Err(invalid("argument", name, cause).with("of", of))
        }
    }
}

fn invalid(setting: &'static str, value: &str, cause: &'static str) -> Error {
    Error::new(ErrorKind::Config, format!("cannot use the topology: {cause}"))
        .with("setting", setting)
        .with("value", value)
        .unsent()
}

/// The longest short string of AMQP, in bytes.
const NAME_MAX: usize = 255;
