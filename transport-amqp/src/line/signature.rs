//! Which user sends what is published, as far as the broker bears it out.

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

use crate::connection::supervised::SupervisedConnection;
use crate::error::{channel_error, failed};

/// The name that what is published on a line is signed with.
///
/// To say a name that is not the one that the broker knows us by costs the channel, and whatever is
/// on its way there. And it may know us by another one than we told it: it takes that from a
/// certificate, or from a token. So it is asked first, by a message to nobody on a channel that
/// nobody else uses. A line sends nothing until the question is settled: then nothing leaves
/// without a name that would have one a moment later.
pub(crate) struct Signature {
    user: Arc<OnceLock<Option<ShortString>>>,
    asking: Option<AbortHandle>,
}

impl Signature {
    /// No name at all.
    pub(crate) fn none() -> Self {
        Self { user: Arc::new(OnceLock::from(None)), asking: None }
    }

    /// Asks the broker whether it takes the name that the connection was made with, and tells
    /// `settled` when that is known: it has answered, or has not for so long, though it takes
    /// messages.
    ///
    /// Under an alarm the broker answers when that is over, and takes nothing else that comes on
    /// the same connection.
    pub(crate) fn ask_for(
        session: Arc<SupervisedConnection>,
        limit: Duration,
        settled: Arc<Notify>,
    ) -> Self {
        let user = Arc::new(OnceLock::new());
        let asking = ask(session, limit, user.clone(), settled);
        // It ends with the line.
        Self { user, asking: Some(tokio::spawn(asking).abort_handle()) }
    }

    /// Whether there will be no other answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.user.get().is_some()
    }

    /// The name, if there is one.
    pub(crate) fn user(&self) -> Option<&ShortString> {
        self.user.get()?.as_ref()
    }
}

impl Drop for Signature {
    fn drop(&mut self) {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
    }
}

async fn ask(
    session: Arc<SupervisedConnection>,
    limit: Duration,
    user: Arc<OnceLock<Option<ShortString>>>,
    settled: Arc<Notify>,
) {
    let name = taken_name(&session, limit).await.unwrap_or_else(|error| {
        tracing::warn!(
            ?error,
            "it cannot be found out which user the broker takes us for, so nothing says it"
        );
        None
    });
    // It is asked once.
    let _ = user.set(name);
    settled.notify_one();
}

/// The name, if the broker takes it.
async fn taken_name(
    session: &SupervisedConnection,
    limit: Duration,
) -> Result<Option<ShortString>> {
    let (channel, connection) = session.channel_with_status().await?;
    let Ok(name) = ShortString::try_new(connection.username()) else { return Ok(None) };
    let mut asking = pin!(publish_as(&channel, name.clone()));
    let answer = loop {
        match timeout(limit, &mut asking).await {
            Ok(answer) => break answer,
            Err(_) if connection.blocked() => {}
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    "the broker does not say whether it takes it",
                ));
            }
        }
    };
    match answer {
        Ok(()) => {
            // It fails if it is closed already.
            let _ = channel.close(200, "done".into()).await;
            Ok(Some(name))
        }
        Err(error) if matches!(channel_error(&error), Some(PRECONDITIONFAILED)) => {
            tracing::info!(%name, "the broker knows us by another name, so what is sent says none");
            Ok(None)
        }
        Err(error) => Err(failed("cannot publish on the default exchange", error)),
    }
}

async fn publish_as(channel: &Channel, user: ShortString) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (options, properties) =
        (BasicPublishOptions::default(), BasicProperties::default().with_user_id(user));
    channel.basic_publish("".into(), NOBODY.into(), options, b"", properties).await?.await?;
    Ok(())
}

/// The name of no queue: there is an empty word in it, and none of ours looks like it.
const NOBODY: &str = "polywire.nobody..";
