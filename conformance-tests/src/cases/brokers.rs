//! Brokers that are restarted, die, or freeze.
//!
//! These cases need [hooks](crate::Hook) that only a backend with a broker has. Clients and servers
//! stay open while the broker is away.

use super::disturbed::{answered_again, calls_end_by_their_deadline_under};
use super::services::echo;
use crate::context::TestContext;
use crate::hook::Hook;
use crate::verdict::{OrFail, Verdict};

/// After a restart of the broker, calls between open endpoint handles are answered again.
///
/// The client and the server reconnect by themselves, within 30 s.
///
/// Catches backends that expect their queues and consumers to survive the broker.
///
/// Needs the hook `restart-broker`.
pub async fn served_again_after_a_restart_of_the_broker(context: &TestContext) -> Verdict {
    context.require_hook(Hook::RestartBroker)?;
    let _server = context.serve(echo()).await?;
    let client = context.client().await?;
    client.call::<u32>("echo", &1).await.or_fail("a call before the restart")?;
    context.disturb(Hook::RestartBroker).await?;
    answered_again(&client).await
}

/// Calls while the broker is away end by their deadline, and calls work again when it is back.
///
/// Ten calls with a timeout of 2 s time out or fail as disconnected, within 4 s: the
/// timeout, and 2 s for a busy machine.
///
/// Catches attempts to connect that block a call, and backends that stop trying.
///
/// Needs the hook `kill-broker`.
pub async fn a_dead_broker_ends_calls_by_their_deadline(context: &TestContext) -> Verdict {
    calls_end_by_their_deadline_under(context, Hook::KillBroker).await
}

/// Calls while the broker is frozen end by their deadline, and calls work again when it is thawed.
///
/// As [`a_dead_broker_ends_calls_by_their_deadline`], with connections that stay open.
///
/// Catches backends without heartbeats that never leave a dead connection.
///
/// Needs the hook `freeze-broker`.
pub async fn a_frozen_broker_ends_calls_by_their_deadline(context: &TestContext) -> Verdict {
    calls_end_by_their_deadline_under(context, Hook::FreezeBroker).await
}
