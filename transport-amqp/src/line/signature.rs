//! Which user sends what is published, as far as the broker bears it out.

use std::sync::{Arc, OnceLock};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel};
use polywire_core::Result;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::session::Session;

/// The name that what is published on a line is signed with.
///
/// To say a name that is not the one that the broker knows us by costs the channel, and whatever is on its way there. And
/// it may know us by another one than we told it: it takes that from a certificate, or from a token. So it is asked
/// first, by a message to nobody on a channel that nobody else uses, and the line takes nothing until it has answered: then
/// nothing leaves without a name that would have one a moment later.
pub(super) struct Signature {
    user: Arc<OnceLock<Option<ShortString>>>,
    asking: Option<AbortHandle>,
}

impl Signature {
    /// No name at all.
    pub(super) fn none() -> Self {
        Self { user: Arc::new(OnceLock::from(None)), asking: None }
    }

    /// Asks for that of the connection, and tells `settled` when there is an answer.
    pub(super) async fn ask_for(session: &Session, settled: Arc<Notify>) -> Result<Self> {
        let (channel, connection) = session.channel_to_publish().await?;
        let Ok(name) = ShortString::try_new(connection.username()) else { return Ok(Self::none()) };
        let user = Arc::new(OnceLock::new());
        let asking = ask(channel, name, user.clone(), settled);
        // It ends with the line, if the broker does not answer.
        let asking = tokio::spawn(asking).abort_handle();
        Ok(Self { user, asking: Some(asking) })
    }

    /// Whether the broker has answered.
    pub(super) fn is_settled(&self) -> bool {
        self.user.get().is_some()
    }

    /// The name, if there is one.
    pub(super) fn user(&self) -> Option<&ShortString> {
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
    channel: Channel,
    name: ShortString,
    user: Arc<OnceLock<Option<ShortString>>>,
    settled: Arc<Notify>,
) {
    let taken = try_as(&channel, name.clone()).await;
    if let Err(error) = &taken {
        tracing::info!(?error, "what is sent does not say which user sends it");
    }
    // It is asked once.
    let _ = user.set(taken.is_ok().then_some(name));
    settled.notify_one();
    // One that was closed for the name is closed.
    let _ = channel.close(200, "done".into()).await;
}

async fn try_as(channel: &Channel, user: ShortString) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (options, properties) =
        (BasicPublishOptions::default(), BasicProperties::default().with_user_id(user));
    channel.basic_publish("".into(), NOBODY.into(), options, b"", properties).await?.await?;
    Ok(())
}

/// The name of no queue: there is an empty word in it, and none of ours looks like it.
const NOBODY: &str = "polywire.nobody..";
