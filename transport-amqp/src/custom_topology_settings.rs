//! Settings for exchanges and queues of the program's own.

#[cfg(doc)]
use polywire_core::ErrorKind;
use polywire_core::{Address, Error};

use crate::builder::AmqpBuilder;
use crate::topology::custom_topology::Topology;

impl AmqpBuilder {
    /// Sets exchanges, queues and bindings of the program's own, which the transport declares when
    /// it connects, after each reconnect, and at each [check](Self::topology_check).
    ///
    /// [`build`](Self::build) fails with [`ErrorKind::Config`] if one of them exists with other
    /// options, or is passive and missing. The details of the error name it, and the option that
    /// differs with its value here (`ours`) and at the broker (`theirs`). A failure after that is
    /// logged, and tried again.
    ///
    /// A second call replaces the topology of the first.
    ///
    /// ```
    /// use polywire_amqp::{
    ///     Amqp, BindingDeclaration, ExchangeDeclaration, ExchangeKind, QueueDeclaration,
    ///     QueueOptions, Topology,
    /// };
    ///
    /// # fn set_up() -> polywire_core::Result<()> {
    /// let topology = Topology::new()
    ///     .exchange(ExchangeDeclaration::new("legacy", ExchangeKind::Direct).passive())
    ///     .queue(QueueDeclaration::new("legacy.orders"))
    ///     .binding(BindingDeclaration::queue("legacy", "legacy.orders").routing_key("order"));
    /// let builder = Amqp::builder("amqp://localhost")?
    ///     .topology(topology)
    ///     .job_queue("orders", QueueOptions::new().named("legacy.orders").passive());
    /// # let _ = builder;
    /// # Ok(())
    /// # }
    /// # set_up().unwrap();
    /// ```
    pub fn topology(mut self, topology: Topology) -> Self {
        self.config.topology = topology;
        self
    }

    /// Sets the exchange of a channel of events, in place of polywire's own. The exchange has to
    /// exist: another program declares it, or the [topology](Self::topology) of this one.
    /// [`build`](Self::build) reports an invalid name.
    ///
    /// Topics are routing keys, and filters are binding keys. At a topic exchange they mean what
    /// they say. At a direct exchange, filters cannot have `*` and `#`. At a fanout exchange, each
    /// group gets all events; a subscriber without a group drops those that its filters do not
    /// match. A subscriber does not notice that the exchange was deleted and declared again by
    /// another program within one check.
    ///
    /// Each call sets one channel, and a second call for a channel replaces its exchange. A channel
    /// without a call has the exchange `polywire.events.CHANNEL`.
    pub fn channel_exchange(
        mut self,
        channel: impl TryInto<Address, Error: Into<Error>>,
        exchange: impl AsRef<str>,
    ) -> Self {
        let channel = channel.try_into().map_err(Into::into);
        self.config.event_exchange_names.set(channel, exchange.as_ref());
        self
    }
}
