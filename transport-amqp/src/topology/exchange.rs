//! Exchanges at the broker.

use lapin::options::ExchangeDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use polywire_core::Result;

use crate::error::failed;

/// Declares the durable topic exchange of a channel. An exchange that exists with the same
/// properties stays as it is.
pub(crate) async fn declare_exchange(channel: &Channel, name: &ShortString) -> Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let arguments = FieldTable::default();
    let declared =
        channel.exchange_declare(name.clone(), ExchangeKind::Topic, durable, arguments).await;
    declared.map_err(|error| failed("cannot declare the exchange", error).with("exchange", name))
}
