//! Notices that the exchange of a channel was missing.
//!
//! Bindings are deleted with their exchange. The program that declares a missing exchange again
//! knows that; the others would find the exchange in its place. So that program tells the
//! subscribers of the channel, whose queues are bound to `amq.direct` for this purpose. The broker
//! cannot be asked for the bindings of a queue.

use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions};
use lapin::types::{FieldTable, ShortString};
use polywire_core::Result;

use crate::connection::supervised::SupervisedConnection;
use crate::error::failed;
use crate::wire::native::{LOST_EXCHANGE, NOTICE_EXCHANGE};

/// Tells all subscribers of the channel of `exchange`, except for the one with this `number`.
///
/// # Errors
///
/// Those of opening a channel. A user that may not write to `amq.direct` tells nobody.
pub(crate) async fn tell(
    connection: &SupervisedConnection,
    exchange: &ShortString,
    number: u128,
) -> Result<()> {
    let channel = connection.channel().await?;
    let (options, body) = (BasicPublishOptions::default(), number.to_be_bytes());
    let properties = BasicProperties::default()
        .with_type(LOST_EXCHANGE.into())
        .with_message_id(exchange.clone())
        .with_expiration(EXPIRES_MS.into());
    // Without the confirm, our close of the channel could cross the broker's, and its answer would
    // then end the next channel with the same number.
    let publishing = async {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let (exchange, key) = (NOTICE_EXCHANGE.into(), exchange.clone());
        channel.basic_publish(exchange, key, options, &body, properties).await?.await?;
        channel.close(200, "done".into()).await
    };
    publishing.await.map_err(|error| failed("cannot tell of a lost exchange", &error))
}

/// Binds a queue to the notices about an exchange.
///
/// # Errors
///
/// Those of opening a channel, or if the user may not read from `amq.direct`.
pub(crate) async fn listen(
    connection: &SupervisedConnection,
    queue: &ShortString,
    exchange: &ShortString,
) -> Result<()> {
    let channel = connection.channel().await?;
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    let binding = channel.queue_bind(
        queue.clone(),
        NOTICE_EXCHANGE.into(),
        exchange.clone(),
        options,
        arguments,
    );
    binding.await.map_err(|error| failed("cannot listen to notices", &error))
}

/// Returns the number of the teller, if a delivery is a notice about this exchange.
pub(crate) fn teller(raw: &Raw, exchange: &ShortString) -> Option<u128> {
    let is_notice = raw.exchange.as_str() == NOTICE_EXCHANGE && raw.routing_key == *exchange;
    is_notice.then(|| <[u8; 16]>::try_from(&*raw.data).map_or(0, u128::from_be_bytes))
}

/// Expiry of a notice in the queue of a group without members, in milliseconds. A member that comes
/// later binds the queue anyway.
const EXPIRES_MS: &str = "60000";
