//! Names of the exchanges of event channels: polywire's, and those of the program's own.

use lapin::types::ShortString;
#[cfg(doc)]
use polywire_core::ErrorKind;
use polywire_core::{Address, Error, Result};
use rustc_hash::FxHashMap;

use crate::wire::native;

/// Exchanges of the program's own, by channel. The others are polywire's.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventExchangeNames {
    own: FxHashMap<Address, ShortString>,
    /// The first invalid name that was set, which [`validate`](Self::validate) returns.
    invalid: Option<Error>,
}

impl EventExchangeNames {
    /// Sets the exchange of a channel. An invalid name is reported by [`validate`](Self::validate).
    pub(crate) fn set(&mut self, channel: Result<Address>, exchange: &str) {
        match channel.and_then(|channel| Ok((channel, native::own_name(exchange)?))) {
            Ok((channel, exchange)) => drop(self.own.insert(channel, exchange)),
            Err(error) => drop(self.invalid.get_or_insert(error)),
        }
    }

    /// Checks all names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for an invalid name.
    pub(crate) fn validate(&self) -> Result<()> {
        self.invalid.clone().map_or(Ok(()), Err)
    }

    /// Returns the exchange of a channel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if the name is too long for AMQP.
    pub(crate) fn of(&self, channel: &Address) -> Result<ShortString> {
        match self.own.get(channel) {
            Some(exchange) => Ok(exchange.clone()),
            None => native::event_exchange(channel),
        }
    }
}
