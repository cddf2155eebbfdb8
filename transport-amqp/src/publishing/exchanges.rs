//! The exchanges that publishers use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use lapin::types::ShortString;
use polywire_core::{ErrorKind, Result};

use crate::connection::supervised::SupervisedConnection;
use crate::error::lock;
use crate::topology::exchange::declare_exchange;

/// An exchange that a publisher uses. It is declared again for each new channel, while the handle
/// lives.
pub(crate) struct Exchange {
    /// Name of the topic exchange.
    pub(crate) name: ShortString,
    /// Set if the last declaration failed. The broker closes a channel that publishes to a missing
    /// exchange, with all its unconfirmed messages.
    may_be_missing: AtomicBool,
}

impl Exchange {
    /// Returns whether the exchange has to be declared before the next message.
    pub(crate) fn may_be_missing(&self) -> bool {
        self.may_be_missing.load(Ordering::Relaxed)
    }

    /// Declares the exchange: creates it, or checks that it has the right type.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if there is an exchange of another type by this name, besides those of
    /// opening a channel.
    pub(crate) async fn declare(&self, connection: &SupervisedConnection) -> Result<()> {
        declare_exchange(&connection.channel().await?, &self.name).await?;
        self.may_be_missing.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// The exchanges of all open publishers.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<Vec<Weak<Exchange>>>);

impl Exchanges {
    /// Adds an exchange, until its last handle is dropped.
    pub(super) fn add(&self, name: ShortString) -> Arc<Exchange> {
        let exchange = Arc::new(Exchange { name, may_be_missing: AtomicBool::new(false) });
        let mut all = lock(&self.0);
        all.retain(|exchange| exchange.strong_count() > 0);
        all.push(Arc::downgrade(&exchange));
        exchange
    }

    /// Declares all exchanges. A failure marks the exchange as possibly missing, which only its own
    /// publishers notice.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the connection is lost.
    pub(super) async fn declare(&self, connection: &SupervisedConnection) -> Result<()> {
        let all: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        for exchange in all {
            match exchange.declare(connection).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Disconnected => return Err(error),
                Err(error) => {
                    exchange.may_be_missing.store(true, Ordering::Relaxed);
                    tracing::warn!(?error, exchange = %exchange.name, "cannot declare the exchange again");
                }
            }
        }
        Ok(())
    }
}
