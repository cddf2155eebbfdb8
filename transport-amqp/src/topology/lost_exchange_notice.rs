//! Notices that the exchange of a channel was missing.
//!
//! Bindings are deleted with their exchange. The program that declares a missing exchange again
//! knows that; the others would find the exchange in its place. So that program notifies the
//! subscribers of the channel, whose queues are bound to `amq.direct` for this purpose. The broker
//! cannot be asked for the bindings of a queue.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions};
use lapin::types::{FieldTable, ShortString};
use polywire_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::connection::channel_setup_guard::ChannelSetupGuard;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::failed;
use crate::wire::native::{LOST_EXCHANGE, NOTICE_EXCHANGE};

/// Notifies all subscribers of the channel of `exchange`, except for the one with this `number`.
/// Returns whether a queue has taken the notice. If none has, the channel has no subscriber.
///
/// The notice goes over the connection that publishes: under an alarm, the broker would stop
/// reading the acknowledgements of a consuming connection that publishes.
///
/// The number 0 stands for a publisher. Each call opens and closes a channel of its own.
///
/// # Errors
///
/// Those of opening a channel, and [`ErrorKind::DeadlineExceeded`] after a second: the broker may
/// accept no messages. A user that may not write to `amq.direct` notifies none.
pub(crate) async fn send(
    publishing: &SupervisedConnection,
    exchange: &ShortString,
    number: u128,
) -> Result<bool> {
    let properties = BasicProperties::default()
        .with_type(LOST_EXCHANGE.into())
        .with_message_id(exchange.clone())
        .with_expiration(EXPIRES_MS.into());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let telling = async {
        let guard = ChannelSetupGuard::new(publishing.channel().await?);
        let channel = guard.channel();
        // Without the confirm, our close of the channel could cross the broker's, and its answer
        // would then end the next channel with the same number.
        let sent = async {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let (to, key, body) = (NOTICE_EXCHANGE.into(), exchange.clone(), number.to_be_bytes());
            channel.basic_publish(to, key, options, &body, properties).await?.await
        };
        let sent =
            sent.await.map_err(|error| failed("cannot send the notice of a lost exchange", &error));
        let closing = guard.done();
        let is_taken = sent?.take_message().is_none();
        let closed = closing.close(200, "done".into()).await;
        closed.map_err(|error| failed("cannot close the channel of a notice", &error))?;
        Ok(is_taken)
    };
    timeout(TELL_MAX, telling).await.unwrap_or_else(|_| {
        let late = "cannot send the notice of a lost exchange: the broker did not answer in time";
        Err(Error::new(ErrorKind::DeadlineExceeded, late))
    })
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
///
/// A malformed notice has the number 0, so that all subscribers act upon it.
pub(crate) fn sender_number(raw: &Raw, exchange: &ShortString) -> Option<u128> {
    let is_notice = raw.exchange.as_str() == NOTICE_EXCHANGE && raw.routing_key == *exchange;
    is_notice.then(|| <[u8; 16]>::try_from(&*raw.data).map_or(0, u128::from_be_bytes))
}

/// Expiry of a notice in the queue of a group without members, in milliseconds. A member that comes
/// later binds the queue anyway.
const EXPIRES_MS: &str = "60000";
/// The longest time for a notice. Under an alarm, the broker takes none.
const TELL_MAX: Duration = Duration::from_secs(1);
