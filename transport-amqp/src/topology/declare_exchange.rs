//! Declarations and checks of exchanges at the broker.

use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use polywire_core::{ErrorKind, Result};

use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::failed;
use crate::wire::native;

/// Declares the durable topic exchange of a channel. An exchange that exists with the same
/// properties stays as it is. For a user that may not declare it, the exchange has to exist. So has
/// an exchange of the program's own, which may be of any type.
///
/// # Errors
///
/// [`ErrorKind::Config`] if there is an exchange of another type by this name, or none by a name of
/// the program's own; [`ErrorKind::Denied`] if it does not exist and the user may not declare it.
pub(crate) async fn declare(connection: &SupervisedConnection, name: &ShortString) -> Result<()> {
    if native::is_own(name) {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        return declare_with(connection, name, passive).await;
    }
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    match declare_with(connection, name, durable).await {
        Err(refused) if refused.kind() == ErrorKind::Denied => {
            match exists(connection, name).await {
                Ok(false) => Err(refused),
                found => found.map(drop),
            }
        }
        declared => declared,
    }
}

/// Returns whether an exchange exists. Returns true for a name that no broker can be asked for.
///
/// The type of the exchange does not matter.
pub(crate) async fn exists(connection: &SupervisedConnection, name: &ShortString) -> Result<bool> {
    if !native::can_be_reported_missing(name) {
        return Ok(true);
    }
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    match declare_with(connection, name, passive).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Config => Ok(false),
        Err(error) => Err(error),
    }
}

/// Declares on a channel of its own, since the broker closes the channel of a failed declaration.
pub(super) async fn declare_with(
    connection: &SupervisedConnection,
    name: &ShortString,
    options: ExchangeDeclareOptions,
) -> Result<()> {
    let channel = connection.channel().await?;
    let (kind, arguments) = (ExchangeKind::Topic, FieldTable::default());
    let declared = channel.exchange_declare(name.clone(), kind, options, arguments).await;
    declared.map_err(|error| failed("cannot declare the exchange", &error).with("exchange", name))
}
