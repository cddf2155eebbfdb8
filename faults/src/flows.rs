//! Traffic of each pattern through a cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::Client;

use crate::calls::{SERVICE, call};
use crate::recorder::Recorder;
use crate::traffic::{Pattern, Traffic};
use crate::wait::until_some;

/// Jobs and events, and the means to try a call.
///
/// Jobs and events flow in the background, at three operations at a time each. Calls are tried on
/// demand, since the scenario has another load of calls.
pub(crate) struct Flows {
    calls: Client<MessagePack>,
    /// The timeout of each call.
    timeout: Duration,
    jobs: Traffic,
    group: Traffic,
    /// Events of an exclusive queue, which is on one node: without that node they are lost. Its
    /// recorder is not evaluated.
    exclusive: Traffic,
    recorder: Arc<Recorder>,
}

impl Flows {
    /// Starts the traffic from one transport to the other.
    ///
    /// # Errors
    ///
    /// If an endpoint handle cannot be opened.
    pub(crate) async fn start(
        sending: &Amqp,
        receiving: &Amqp,
        timeout: Duration,
        recorder: &Arc<Recorder>,
    ) -> Result<Self> {
        let start =
            |pattern, name, recorder| Traffic::start(pattern, name, sending, receiving, recorder);
        Ok(Self {
            calls: Client::connect(sending, SERVICE, MessagePack).await?,
            timeout,
            jobs: start(Pattern::Jobs, "jobs", recorder).await?,
            group: start(Pattern::GroupEvents, "group", recorder).await?,
            exclusive: start(Pattern::Events, "own", &Arc::default()).await?,
            recorder: recorder.clone(),
        })
    }

    /// Waits until all traffic flows that does not need a certain node.
    ///
    /// Waits for a call, then for jobs, then for events of the group. Each has the bound of its
    /// own, so the whole may take six minutes.
    ///
    /// # Errors
    ///
    /// If that takes longer than the bound of every wait.
    pub(crate) async fn until_flowing(&self) -> Result<()> {
        let answered = until_some("a call is answered", || async {
            call(&self.calls, self.timeout, &self.recorder).await.ok()
        });
        answered.await?;
        self.jobs.until_flowing().await.context("jobs")?;
        self.group.until_flowing().await.context("events of a group")
    }

    /// Waits until events of an exclusive queue flow.
    ///
    /// # Errors
    ///
    /// If that takes longer than the bound of every wait.
    pub(crate) async fn until_exclusive_flowing(&self) -> Result<()> {
        self.exclusive.until_flowing().await.context("events of an exclusive queue")
    }

    /// Ends jobs and events, and waits until each that was acknowledged is received.
    ///
    /// Exclusive events are not evaluated, since they are lost with their node.
    ///
    /// # Errors
    ///
    /// If an acknowledged job or event is not received.
    pub(crate) async fn finish(self) -> Result<()> {
        self.jobs.finish().await.context("jobs")?;
        self.group.finish().await.context("events of a group")
    }
}
