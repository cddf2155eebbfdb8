//! What we make at the broker: queues and exchanges.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use polywire_core::{ErrorKind, Result};

use crate::QueueKind;
use crate::error::failed;
use crate::session::Session;

/// A queue. It is durable and not exclusive, whoever uses it: the broker holds on to an exclusive one of a connection
/// that is dead, and new ones know none that is neither durable nor exclusive.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) name: ShortString,
    kind: QueueKind,
    expires: Option<Duration>,
}

impl Queue {
    /// A queue that stays.
    pub(crate) fn kept(name: ShortString, kind: QueueKind) -> Self {
        Self { name, kind, expires: None }
    }

    /// A queue that the broker takes away when nobody has consumed it for so long.
    pub(crate) fn expiring(name: ShortString, kind: QueueKind, after: Duration) -> Self {
        Self { name, kind, expires: Some(after) }
    }

    /// Makes it, or finds it as it should be.
    pub(crate) async fn declare(&self, channel: &Channel) -> Result<()> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(self.name.clone(), durable, self.arguments()).await;
        declared.map_err(|error| failed("cannot set up the queue", error).with("queue", &self.name))?;
        Ok(())
    }

    /// Whether it is there. Asking costs a channel, which the broker closes if it is not.
    pub(crate) async fn is_there(&self, session: &Session) -> Result<bool> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = session.channel().await?;
        let asked = channel.queue_declare(self.name.clone(), passive, FieldTable::default()).await;
        match asked.map_err(|error| failed("no such queue", error)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Config => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if let Some(kind) = self.kind.argument() {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        }
        if let Some(after) = self.expires {
            let ms = i32::try_from(after.as_millis()).unwrap_or(i32::MAX);
            arguments.insert("x-expires".into(), AMQPValue::LongInt(ms));
        }
        arguments
    }
}

/// Makes the exchange of a channel, or finds it as it should be.
pub(crate) async fn declare_exchange(channel: &Channel, name: &ShortString) -> Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let arguments = FieldTable::default();
    let declared = channel.exchange_declare(name.clone(), ExchangeKind::Topic, durable, arguments).await;
    declared.map_err(|error| failed("cannot set up the exchange", error).with("exchange", name))
}

/// Takes queues away that nobody will read again. Those that are not there need not be.
pub(crate) async fn delete(channel: &Channel, queues: impl IntoIterator<Item = ShortString>) -> Result<()> {
    for queue in queues {
        let deleted = channel.queue_delete(queue, QueueDeleteOptions::default()).await;
        deleted.map_err(|error| failed("cannot delete a queue", error))?;
    }
    Ok(())
}
