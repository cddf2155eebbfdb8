//! The connection of one endpoint handle is cut, swallowed or delayed, for each kind of handle and
//! each fault: traffic recovers, and no acknowledged operation is lost.

mod handle_kind;
mod link_fault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use polywire_amqp::Amqp;
use polywire_conformance::FaultProxy;
use tokio::time::Instant;

use self::handle_kind::HandleKind;
use self::link_fault::{HEARTBEAT, LinkFault};
use crate::Plan;
use crate::broker::Broker;
use crate::recorder::Recorder;
use crate::traffic::Traffic;

/// Runs each fault at each endpoint handle: once in a quick run, five times in a full one.
///
/// A black hole must be noticed through heartbeats. The report has the longest times until a fault
/// was noticed and until traffic flowed again.
///
/// Six kinds of handles and five faults make 30 cases. Each case has a proxy, two transports and
/// names of its own, so that cases do not disturb one another. All cases share the node and the
/// recorder. The first case that fails ends the others.
///
/// # Errors
///
/// If traffic does not flow again within the bound of every wait, or if an operation is lost.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    let rounds = plan.pick(1, 5);
    let cases = HandleKind::ALL.into_iter();
    let cases = cases.flat_map(|handle| LinkFault::ALL.map(|fault| (handle, fault)));
    let cases: Vec<_> = cases.collect();
    let mut running = stream::iter(cases)
        .map(|(handle, fault)| {
            let case = Case { plan, broker: &broker, recorder, handle, fault };
            async move { (handle, fault, case.run(rounds).await) }
        })
        .buffer_unordered(AT_A_TIME);
    let mut all = BTreeMap::<_, Times>::new();
    while let Some((handle, fault, times)) = running.next().await {
        let times = times.with_context(|| format!("{fault} at the {handle}"))?;
        all.entry(fault).or_default().add(times);
    }
    for (fault, times) in all {
        recorder.figure(fault.name(), times);
    }
    recorder.check_nothing_lost().await
}

/// Cases at a time: most of the time, a case waits.
const AT_A_TIME: usize = 12;

/// The longest times until a fault was noticed, if it had to be, and from the end of the fault
/// until traffic flowed again.
#[derive(Clone, Copy, Default)]
struct Times {
    /// `None` for a fault whose notice is not measured.
    noticed: Option<Duration>,
    /// Time from the end of a fault until an operation was acknowledged and received.
    recovered: Duration,
    /// Faults that were injected.
    rounds: u32,
    /// Rounds in which neither time exceeded twice the heartbeat.
    in_time: u32,
}

impl Times {
    /// Creates the times of a single fault.
    fn of_round(noticed: Option<Duration>, recovered: Duration) -> Self {
        let slower = noticed.unwrap_or_default().max(recovered);
        Self { noticed, recovered, rounds: 1, in_time: u32::from(slower <= HEARTBEAT * 2) }
    }

    /// Adds other faults: times become the longer ones, and counts are summed up.
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.in_time += other.in_time;
        self.noticed = self.noticed.max(other.noticed);
        self.recovered = self.recovered.max(other.recovered);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(noticed) = self.noticed {
            write!(f, "noticed within {:.1} s, ", noticed.as_secs_f64())?;
        }
        write!(f, "recovered within {:.1} s, ", self.recovered.as_secs_f64())?;
        write!(f, "both within twice the heartbeat {} of {} times", self.in_time, self.rounds)
    }
}

/// One fault at one handle, with its own proxy and names.
struct Case<'a> {
    plan: &'a Plan,
    broker: &'a Broker,
    recorder: &'a Arc<Recorder>,
    handle: HandleKind,
    fault: LinkFault,
}

impl Case<'_> {
    /// Runs the case, and returns its times.
    ///
    /// Traffic has to flow before the first fault, and after each one. The handle under test
    /// connects through the proxy, and the other side directly.
    async fn run(&self, rounds: u32) -> Result<Times> {
        let proxy = FaultProxy::start(format!("127.0.0.1:{}", self.broker.port)).await?;
        let near = self.connect(&format!("amqp://guest:guest@{}", proxy.address())).await?;
        let far = self.connect(&self.broker.url).await?;
        let (sending, receiving) =
            if self.handle.is_sending() { (&near, &far) } else { (&far, &near) };
        let name = format!("{}-{}", self.handle.name(), self.fault.name());
        let traffic =
            Traffic::start(self.handle.pattern(), &name, sending, receiving, self.recorder).await?;
        traffic.until_flowing().await?;
        let mut times = Times::default();
        for _ in 0..rounds {
            let noticed = self.fault.inject(&proxy, &near).await?;
            let ended = Instant::now();
            traffic.until_flowing().await?;
            times.add(Times::of_round(noticed, ended.elapsed()));
        }
        traffic.finish().await?;
        Ok(times)
    }

    /// Connects a transport with the heartbeat of [`HEARTBEAT`], and with the kind of queues of the
    /// plan.
    async fn connect(&self, url: &str) -> Result<Amqp> {
        Amqp::builder(&self.plan.url(url))?
            .heartbeat(HEARTBEAT)
            .build()
            .await
            .context("cannot connect a transport")
    }
}
