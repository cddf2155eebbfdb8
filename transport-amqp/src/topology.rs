//! What we make at the broker: queues and exchanges.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use polywire_core::{ErrorKind, Result};

use crate::error::{failed, inequivalent};
use crate::session::Session;
use crate::wire::{Native, Wire};
use crate::{QueueKind, QueueOptions};

/// A queue. It is durable and not exclusive, whoever uses it: the broker holds on to an exclusive
/// one of a connection that is dead, and new ones know none that is neither durable nor exclusive.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) name: ShortString,
    pub(crate) options: QueueOptions,
    /// Where what the broker takes out goes, if it is not let go.
    onwards: Option<ShortString>,
}

impl Queue {
    /// A queue that the broker takes away when nobody has consumed it for so long.
    pub(crate) fn expiring(name: ShortString, kind: QueueKind, after: Duration) -> Self {
        Self::of(name, QueueOptions::new().kind(kind).expires(after))
    }

    /// A queue with these options.
    pub(crate) fn of(name: ShortString, options: QueueOptions) -> Self {
        Self { name, options, onwards: None }
    }

    /// Where its dead letters are.
    pub(crate) fn dead(&self) -> Result<Self> {
        Ok(Self::of(Native.dead_queue(&self.name)?, self.options.of_dead_letters()))
    }

    /// Where something waits for so long before it comes to this one. It is of the same kind; but a
    /// classic queue moves what is due once, and would lose what is refused.
    pub(crate) fn waiting(&self, pause: Duration) -> Result<Self> {
        let kind =
            if self.options.rejects() { QueueKind::Quorum } else { self.options.queue_kind() };
        let name = Native.retry_queue(&self.name, pause)?;
        let options =
            QueueOptions::new().kind(kind).message_ttl(pause).expires(pause + EXPIRES_AFTER);
        Ok(Self { onwards: Some(self.name.clone()), ..Self::of(name, options) })
    }

    /// Makes it, or finds it as it should be.
    pub(crate) async fn declare(&self, channel: &Channel) -> Result<()> {
        if self.options.is_passive() {
            return self.find(channel).await.map(drop);
        }
        let onwards = match &self.onwards {
            Some(onwards) => Some(onwards.clone()),
            None if self.options.buries() => {
                let dead = self.dead()?;
                dead.make(channel, None).await?;
                Some(dead.name)
            }
            None => None,
        };
        self.make(channel, onwards.as_ref()).await
    }

    async fn make(&self, channel: &Channel, onwards: Option<&ShortString>) -> Result<()> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let arguments = self.options.arguments(onwards);
        let declared = channel.queue_declare(self.name.clone(), durable, arguments).await;
        declared.map_err(|error| {
            let clash = inequivalent(&error);
            let failed = failed("cannot set up the queue", error).with("queue", &self.name);
            match clash {
                Some(clash) => failed
                    .with("argument", clash.argument)
                    .with("ours", clash.ours)
                    .with("theirs", clash.theirs),
                None => failed,
            }
        })?;
        Ok(())
    }

    /// How many messages wait in it. If it is not there, that is an error, and costs the channel.
    pub(crate) async fn find(&self, channel: &Channel) -> Result<u32> {
        Ok(self.look(channel).await?.message_count())
    }

    async fn look(&self, channel: &Channel) -> Result<lapin::Queue> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(self.name.clone(), passive, FieldTable::default()).await;
        found.map_err(|error| failed("there is no such queue", error).with("queue", &self.name))
    }

    /// How many consume it. If it is not there, that is an error, and costs the channel.
    pub(crate) async fn consumers(&self, channel: &Channel) -> Result<u32> {
        Ok(self.look(channel).await?.consumer_count())
    }

    /// Whether it is there. Asking costs a channel, which the broker closes if it is not.
    pub(crate) async fn is_there(&self, session: &Session) -> Result<bool> {
        match self.find(&session.channel().await?).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Config => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// How much longer than what is in it such a queue stays when nothing more is put into it. Only
/// making it again counts as use, so it has to be made again more often than this; see
/// `returns.rs`.
pub(crate) const EXPIRES_AFTER: Duration = Duration::from_secs(5 * 60);

/// Makes the exchange of a channel, or finds it as it should be.
pub(crate) async fn declare_exchange(channel: &Channel, name: &ShortString) -> Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let arguments = FieldTable::default();
    let declared =
        channel.exchange_declare(name.clone(), ExchangeKind::Topic, durable, arguments).await;
    declared.map_err(|error| failed("cannot set up the exchange", error).with("exchange", name))
}

/// Takes queues away that nobody will read again. Those that are not there need not be.
pub(crate) async fn delete(
    channel: &Channel,
    queues: impl IntoIterator<Item = ShortString>,
) -> Result<()> {
    for queue in queues {
        let deleted = channel.queue_delete(queue, QueueDeleteOptions::default()).await;
        deleted.map_err(|error| failed("cannot delete a queue", error))?;
    }
    Ok(())
}
