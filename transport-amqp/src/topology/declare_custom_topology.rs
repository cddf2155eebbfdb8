//! Declares the exchanges, queues and bindings of the program's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use polywire_core::{Error, Result};
use tokio::time::Instant;

use crate::connection::backoff::pause;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::{argument_mismatch, failed};
use crate::topology::argument_value::{ArgumentValue, table};
use crate::topology::custom_topology::{
    BindingDeclaration, ExchangeDeclaration, ExchangeKind, QueueDeclaration, Topology,
};

/// Declares a topology. What exists with the same options stays as it is.
///
/// The first failure ends the declaration, and the broker closes its channel. Anything declared
/// before stays.
///
/// # Errors
///
/// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if something exists with other options,
/// or is passive and missing; [`ErrorKind::Denied`](polywire_core::ErrorKind::Denied) without the
/// right. The details name the exchange, the queue or the binding, and both values of an option.
pub(crate) async fn declare(connection: &SupervisedConnection, topology: &Topology) -> Result<()> {
    let channel = connection.channel().await?;
    for exchange in &topology.exchanges {
        declare_exchange(&channel, exchange).await?;
    }
    for queue in &topology.queues {
        declare_queue(&channel, queue).await?;
    }
    for binding in &topology.bindings {
        bind(&channel, binding).await?;
    }
    Ok(())
}

/// Declares a topology again after each reconnect, and at each interval. Ends never; the transport
/// aborts the task.
pub(crate) async fn keep(
    connection: Arc<SupervisedConnection>,
    topology: Topology,
    interval: Duration,
) {
    let mut log = FailureLog::default();
    loop {
        tokio::select! {
            () = pause(interval) => {}
            () = connection.reconnected() => {}
        }
        match connection.unless_lost(declare(&connection, &topology)).await {
            Ok(()) => log.declared(),
            Err(error) if error.is_transient() => {
                tracing::debug!(?error, "cannot declare the topology yet");
            }
            Err(error) => log.failed(&error),
        }
    }
}

/// Log of a topology that cannot be declared: one error, then a warning every 30 seconds with the
/// number of failures since the last line, until the topology is declared.
#[derive(Default)]
struct FailureLog {
    /// The time of the last line.
    logged: Option<Instant>,
    /// Failures since the last line.
    count: u64,
}

/// Interval of the warnings while the topology cannot be declared.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

impl FailureLog {
    /// Notes a failure.
    fn failed(&mut self, error: &Error) {
        self.count += 1;
        let count = self.count;
        match self.logged {
            Some(logged) if logged.elapsed() < WARN_INTERVAL => return,
            Some(_) => tracing::warn!(?error, count, "still cannot declare the topology"),
            None => tracing::error!(?error, count, "cannot declare the topology"),
        }
        (self.logged, self.count) = (Some(Instant::now()), 0);
    }

    /// Notes that the topology is declared.
    fn declared(&mut self) {
        if self.logged.take().is_some() {
            self.count = 0;
            tracing::info!("declared the topology again");
        }
    }
}

/// Declares an exchange, or checks that a passive one exists. On a failure, the broker closes the
/// channel.
async fn declare_exchange(channel: &Channel, exchange: &ExchangeDeclaration) -> Result<()> {
    let ExchangeDeclaration { name, kind, durable, auto_delete, passive, arguments } = exchange;
    let options = ExchangeDeclareOptions {
        passive: *passive,
        durable: *durable,
        auto_delete: *auto_delete,
        ..ExchangeDeclareOptions::default()
    };
    let kind = match kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
        ExchangeKind::Headers => lapin::ExchangeKind::Headers,
    };
    let declaring = channel.exchange_declare(name.as_str().into(), kind, options, table(arguments));
    declaring.await.map_err(|error| {
        let text = match passive {
            true => "cannot find the exchange",
            false => "cannot declare the exchange",
        };
        with_mismatch(failed(text, &error), &error).with("exchange", name)
    })
}

/// Declares a queue, or checks that a passive one exists. On a failure, the broker closes the
/// channel.
async fn declare_queue(channel: &Channel, queue: &QueueDeclaration) -> Result<()> {
    let QueueDeclaration { name, durable, auto_delete, passive, arguments } = queue;
    let options = QueueDeclareOptions {
        passive: *passive,
        durable: *durable,
        auto_delete: *auto_delete,
        ..QueueDeclareOptions::default()
    };
    let declaring = channel.queue_declare(name.as_str().into(), options, queue_table(arguments));
    declaring.await.map(drop).map_err(|error| {
        let text = match passive {
            true => "cannot find the queue",
            false => "cannot declare the queue",
        };
        with_mismatch(failed(text, &error), &error).with("queue", name)
    })
}

/// Returns the arguments of a queue, whose type is always among them: the default type of a virtual
/// host may be another one than classic. The broker takes a classic queue without the argument for
/// equal.
fn queue_table(arguments: &BTreeMap<String, ArgumentValue>) -> FieldTable {
    let mut table = table(arguments);
    if !table.inner().contains_key(QUEUE_TYPE) {
        table.insert(QUEUE_TYPE.into(), AMQPValue::LongString("classic".into()));
    }
    table
}

/// Name of the argument with the type of a queue.
const QUEUE_TYPE: &str = "x-queue-type";

/// Adds a binding. A binding that exists stays as it is.
async fn bind(channel: &Channel, binding: &BindingDeclaration) -> Result<()> {
    let BindingDeclaration { exchange, queue, to_exchange, routing_key, arguments } = binding;
    let (source, key) = (exchange.as_str().into(), routing_key.as_str().into());
    let bound = match (queue, to_exchange) {
        (Some(queue), _) => {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.as_str().into(), source, key, options, table(arguments)).await
        }
        (None, to) => {
            // A valid binding has one of both.
            let to = to.as_deref().unwrap_or_default().into();
            let options = ExchangeBindOptions::default();
            channel.exchange_bind(to, source, key, options, table(arguments)).await
        }
    };
    bound.map_err(|error| {
        let to = queue.as_ref().or(to_exchange.as_ref());
        failed("cannot add the binding", &error)
            .with("exchange", exchange)
            .with("to", to.map(String::as_str).unwrap_or_default())
            .with("routing_key", routing_key)
    })
}

/// Adds the option that differs, and its values here and at the broker.
fn with_mismatch(error: Error, cause: &lapin::Error) -> Error {
    match argument_mismatch(cause) {
        Some(mismatch) => error
            .with("argument", mismatch.argument)
            .with("ours", mismatch.ours)
            .with("theirs", mismatch.theirs),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;

    use super::*;

    #[test]
    fn type_of_a_queue_is_classic_unless_it_is_named() {
        let named = BTreeMap::from([(QUEUE_TYPE.to_owned(), ArgumentValue::from("stream"))]);
        for (arguments, expected) in [(BTreeMap::new(), "classic"), (named, "stream")] {
            let table = queue_table(&arguments);
            let expected = AMQPValue::LongString(expected.into());
            assert_eq!(table.inner().get(QUEUE_TYPE), Some(&expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failure_is_logged_at_once_and_then_every_30_seconds() {
        let error = Error::new(ErrorKind::Config, "it exists with other options");
        let mut log = FailureLog::default();
        log.failed(&error);
        let first = log.logged;
        for count in 1..10 {
            log.failed(&error);
            assert_eq!((log.logged, log.count), (first, count));
        }
        tokio::time::advance(WARN_INTERVAL).await;
        log.failed(&error);
        assert!(log.logged > first && log.count == 0);
        log.declared();
        assert_eq!((log.logged, log.count), (None, 0));
    }
}
