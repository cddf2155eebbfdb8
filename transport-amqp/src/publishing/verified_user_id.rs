//! The verified user id of a connection.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::AMQPSoftError::PRECONDITIONFAILED;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::{channel_error, failed};

/// The user id of a connection, once the broker has validated it.
///
/// The broker closes a channel that names another user than that of the connection, with all its
/// unconfirmed messages. Its name for the user may differ from the login name: a certificate or a
/// token may contain another one. So the name is tried first, by an unroutable message on a channel
/// of its own. A channel publishes nothing until the answer is known, so that either all of its
/// messages name their sender or none does.
///
/// Each channel has a value of its own, so the name is tried again after a reconnect. RabbitMQ
/// describes the property as the
/// [validated user id](https://www.rabbitmq.com/docs/validated-user-id).
pub(super) struct VerifiedUserId {
    /// Unset until the answer is known. `None` if messages do not name a user.
    user: Arc<OnceLock<Option<ShortString>>>,
    verifying: Option<AbortHandle>,
}

impl VerifiedUserId {
    /// Returns the absence of a user id.
    pub(super) fn none() -> Self {
        Self { user: Arc::new(OnceLock::from(None)), verifying: None }
    }

    /// Tries the login name of the connection, and notifies `known` when the answer is known.
    ///
    /// A broker that does not answer for `limit` counts as a refusal of the name. While an alarm
    /// blocks the connection, the time does not count: the broker answers when the alarm ends.
    /// Dropping the value stops the attempt.
    pub(super) fn verify(
        session: Arc<SupervisedConnection>,
        limit: Duration,
        known: Arc<Notify>,
    ) -> Self {
        let user = Arc::new(OnceLock::new());
        let verifying = verify(session, limit, user.clone(), known);
        Self { user, verifying: Some(tokio::spawn(verifying).abort_handle()) }
    }

    /// Returns whether the answer is known.
    pub(super) fn is_known(&self) -> bool {
        self.user.get().is_some()
    }

    /// Returns the user id, if the broker has validated one.
    pub(super) fn name(&self) -> Option<&ShortString> {
        self.user.get()?.as_ref()
    }
}

impl Drop for VerifiedUserId {
    fn drop(&mut self) {
        if let Some(verifying) = &self.verifying {
            verifying.abort();
        }
    }
}

/// Sets `user` to the answer, once, and notifies `known`. A failure counts as a refusal.
async fn verify(
    session: Arc<SupervisedConnection>,
    limit: Duration,
    user: Arc<OnceLock<Option<ShortString>>>,
    known: Arc<Notify>,
) {
    let name = validated_name(&session, limit).await.unwrap_or_else(|error| {
        tracing::warn!(?error, "cannot validate the user id, so messages do not name their sender");
        None
    });
    let _ = user.set(name);
    known.notify_one();
}

/// Returns the login name, if the broker accepts it as the user id.
///
/// # Errors
///
/// If the broker does not answer, or if the user may not publish to the default exchange.
async fn validated_name(
    session: &SupervisedConnection,
    limit: Duration,
) -> Result<Option<ShortString>> {
    let (channel, connection, _) = session.channel_with_status().await?;
    let Ok(name) = ShortString::try_new(connection.username()) else { return Ok(None) };
    let mut publishing = pin!(publish_as(&channel, name.clone()));
    let answer = loop {
        match timeout(limit, &mut publishing).await {
            Ok(answer) => break answer,
            Err(_) if connection.blocked() => {}
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    "cannot validate the user id: the broker did not answer in time",
                ));
            }
        }
    };
    match answer {
        Ok(()) => {
            // Fails if the channel is closed already.
            let _ = channel.close(200, "done".into()).await;
            Ok(Some(name))
        }
        Err(error) if matches!(channel_error(&error), Some(PRECONDITIONFAILED)) => {
            tracing::info!(
                %name,
                "the broker has another name for the user, so messages do not name their sender"
            );
            Ok(None)
        }
        Err(error) => Err(failed("cannot publish to the default exchange", &error)),
    }
}

/// Publishes an unroutable message with a user id, and waits for its confirm. The broker closes the
/// channel if it has another name for the user.
async fn publish_as(channel: &Channel, user: ShortString) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (options, properties) =
        (BasicPublishOptions::default(), BasicProperties::default().with_user_id(user));
    channel.basic_publish("".into(), NO_QUEUE.into(), options, b"", properties).await?.await?;
    Ok(())
}

/// Routing key that no queue has: our queue names do not end with an empty word.
const NO_QUEUE: &str = "polywire.nobody..";
