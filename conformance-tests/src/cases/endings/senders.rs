//! Clients, pushers and publishers that are dropped right after a successful send.

use std::sync::Arc;

use polywire_codec::MessagePack;
use polywire_core::{Publisher, Pusher};

use super::receivers::{LoggingWorker, log_events};
use crate::cases::outages::cuts::nothing_is_lost;
use crate::cases::services::counting;
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE};
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{OrFail, Verdict};
use crate::wait::in_time;

/// The number of senders that are opened, used once and dropped.
const SENDERS: u32 = 6;

/// A one-way call that was sent runs, even if its client and its transport are dropped at once.
///
/// Six clients in processes of their own send a call each. Nothing closes their transports.
///
/// Catches sends that succeed when a message is in a buffer which ends with its handle.
///
/// Needs the capability `settlement`. Without a broker, a call may be lost with the connection of
/// its client; `close` waits for the servers.
pub async fn one_way_call_of_a_dropped_client_runs(context: &TestContext) -> Verdict {
    context.require("settlement", |can| can.settlement).await?;
    let log = Arc::new(OperationLog::new());
    let _server = context.serve(counting(&log)).await?;
    for _ in 0..SENDERS {
        let id = log.attempt();
        let transport = context.calling().await?;
        let client = context.client_on(&transport).await?;
        let sent = client.request("run").send(&id).await;
        drop((client, transport));
        sent.or_fail("a one-way call is sent")?;
        log.finish(id, OperationOutcome::Acknowledged);
    }
    nothing_is_lost(context, &log).await
}

/// A job whose push succeeded is done, even if its pusher and its transport are dropped at once.
///
/// As [`one_way_call_of_a_dropped_client_runs`], with jobs.
///
/// Catches the same as [`one_way_call_of_a_dropped_client_runs`].
///
/// Needs the capability `pipeline`.
pub async fn job_of_a_dropped_pusher_is_done(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let log = Arc::new(OperationLog::new());
    let _worker = LoggingWorker::start(context, &log).await?;
    for _ in 0..SENDERS {
        let id = log.attempt();
        let transport = context.calling().await?;
        let pusher = in_time(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
        let pushed = pusher.push(&id).await;
        drop((pusher, transport));
        pushed.or_fail("a push")?;
        log.finish(id, OperationOutcome::Acknowledged);
    }
    nothing_is_lost(context, &log).await
}

/// An event that was published arrives, even if its publisher and its transport are dropped at
/// once.
///
/// As [`one_way_call_of_a_dropped_client_runs`], with events to one subscriber.
///
/// Catches the same as [`one_way_call_of_a_dropped_client_runs`].
///
/// Needs the capability `pubsub`.
pub async fn event_of_a_dropped_publisher_arrives(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let log = Arc::new(OperationLog::new());
    let _reading = log_events(context, &log).await?;
    for _ in 0..SENDERS {
        let id = log.attempt();
        let transport = context.calling().await?;
        let publisher = in_time(Publisher::connect(&transport, CHANNEL, MessagePack)).await?;
        let published = publisher.publish("a", &id).await;
        drop((publisher, transport));
        published.or_fail("publishing")?;
        log.finish(id, OperationOutcome::Acknowledged);
    }
    nothing_is_lost(context, &log).await
}
