//! Brokers that are restarted, die, or stand still.

use super::links::{answered_again, calls_end_by_their_deadline_under, echo};
use crate::{Hook, OrFail, Stage, Verdict};

/// After a restart of the broker, calls are answered again by what was open before.
pub async fn served_again_after_a_restart_of_the_broker(stage: &Stage) -> Verdict {
    stage.require_hook(Hook::RestartBroker)?;
    let _server = stage.serve(echo()).await?;
    let client = stage.client().await?;
    client.call::<u32>("echo", &1).await.or_fail("a call before the restart")?;
    stage.disturb(Hook::RestartBroker).await?;
    answered_again(&client).await
}

/// Calls while the broker is away end by their deadline, and work again when it is back.
pub async fn a_dead_broker_ends_calls_by_their_deadline(stage: &Stage) -> Verdict {
    calls_end_by_their_deadline_under(stage, Hook::KillBroker).await
}

/// Calls while the broker stands still end by their deadline, and work again when it goes on.
pub async fn a_frozen_broker_ends_calls_by_their_deadline(stage: &Stage) -> Verdict {
    calls_end_by_their_deadline_under(stage, Hook::FreezeBroker).await
}
