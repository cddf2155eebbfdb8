//! Marks by which subscribers find out that the exchange of a channel was deleted.
//!
//! Bindings are deleted with their exchange, and the broker cannot be asked for them. If another
//! program declares the exchange again, nothing shows that. So subscribers declare a second
//! exchange that the broker deletes together with the first one: it is auto-delete, and its only
//! binding is to the exchange of the channel. No message goes through the mark.

use std::sync::atomic::{AtomicBool, Ordering};

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use polywire_core::{ErrorKind, Result};

use super::declare_exchange;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::failed;
use crate::wire::native;

/// The mark of one exchange.
///
/// Bindings between exchanges are an [extension](https://www.rabbitmq.com/docs/e2e) of RabbitMQ. A
/// mark that was denied once is not tried again by the same value.
pub(crate) struct ExchangeDeletionMark {
    exchange: ShortString,
    /// `None` if the name of the exchange leaves no room for the name of the mark, and for an
    /// exchange of the program's own.
    name: Option<ShortString>,
    /// Set if the user may not declare or bind the mark, which is then taken for present.
    is_denied: AtomicBool,
}

impl ExchangeDeletionMark {
    /// Returns the mark of an exchange. Nothing is declared yet.
    pub(crate) fn new(exchange: ShortString) -> Self {
        let name = (!native::is_own(&exchange))
            .then(|| native::mark_of_exchange(&exchange).ok())
            .flatten();
        Self { exchange, name, is_denied: AtomicBool::new(false) }
    }

    /// Returns whether the exchange is the one that was marked, as far as the user may know that.
    ///
    /// The result is true if there is no mark for it, so that no loss is reported by mistake.
    pub(crate) async fn is_set(&self, connection: &SupervisedConnection) -> Result<bool> {
        match &self.name {
            Some(name) if !self.is_denied() => declare_exchange::exists(connection, name).await,
            _ => Ok(true),
        }
    }

    /// Marks the exchange, which exists. Returns `false` if another subscriber has marked it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the exchange was deleted meanwhile, besides those of opening a
    /// channel. It is no error if the user may not set the mark.
    pub(crate) async fn set(&self, connection: &SupervisedConnection) -> Result<bool> {
        let Some(name) = self.name.as_ref().filter(|_| !self.is_denied()) else { return Ok(true) };
        let is_new = !declare_exchange::exists(connection, name).await?;
        let options = ExchangeDeclareOptions {
            durable: true,
            auto_delete: true,
            ..ExchangeDeclareOptions::default()
        };
        let refused = match declare_exchange::declare_with(connection, name, options).await {
            Ok(()) => match self.bind(connection, name).await {
                Err(error) if error.kind() == ErrorKind::Denied => error,
                bound => return bound.map(|()| is_new),
            },
            // `Config` if another kind of exchange has the name.
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Config) => error,
            Err(error) => return Err(error),
        };
        tracing::debug!(error = ?refused, exchange = %self.exchange, "the exchange is not marked");
        self.is_denied.store(true, Ordering::Release);
        Ok(true)
    }

    /// Binds the exchange of the channel to the mark. A mark that cannot be bound is deleted.
    async fn bind(&self, connection: &SupervisedConnection, name: &ShortString) -> Result<()> {
        let channel = connection.channel().await?;
        let (to, key) = (self.exchange.clone(), ShortString::default());
        let (options, arguments) = (ExchangeBindOptions::default(), FieldTable::default());
        let bound = channel.exchange_bind(to, name.clone(), key, options, arguments).await;
        let Err(error) = bound else { return Ok(()) };
        // A mark without a binding would stay when the exchange is deleted.
        let unused = ExchangeDeleteOptions { if_unused: true, ..ExchangeDeleteOptions::default() };
        if let Err(error) = connection.channel().await?.exchange_delete(name.clone(), unused).await
        {
            tracing::debug!(?error, exchange = %name, "cannot delete an unused mark");
        }
        Err(failed("cannot mark the exchange", &error).with("exchange", &self.exchange))
    }

    fn is_denied(&self) -> bool {
        self.is_denied.load(Ordering::Acquire)
    }
}
