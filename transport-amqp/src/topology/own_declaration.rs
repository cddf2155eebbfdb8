//! Declares the exchanges, queues and bindings of the program's own.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use polywire_core::transport::LogThrottle;
use polywire_core::{Error, Result};

use crate::connection::backoff::pause;
use crate::connection::supervised::SupervisedConnection;
use crate::error::{argument_mismatch, failed};
use crate::topology::argument_value::table;
use crate::topology::own::{
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
    let failures = LogThrottle::new();
    loop {
        tokio::select! {
            () = pause(interval) => {}
            () = connection.reconnected() => {}
        }
        if let Err(error) = connection.unless_lost(declare(&connection, &topology)).await {
            match error.is_transient() {
                true => tracing::debug!(?error, "cannot declare the topology yet"),
                false => {
                    if let Some(count) = failures.note() {
                        tracing::error!(?error, count, "cannot declare the topology");
                    }
                }
            }
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
    let declaring = channel.queue_declare(name.as_str().into(), options, table(arguments));
    declaring.await.map(drop).map_err(|error| {
        let text = match passive {
            true => "cannot find the queue",
            false => "cannot declare the queue",
        };
        with_mismatch(failed(text, &error), &error).with("queue", name)
    })
}

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
