//! Server processes are killed under calls of each mode of redelivery: default, idempotent, and at
//! most once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::join_all;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, Code};
use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::broker::Broker;
use crate::calls::SERVICE;
use crate::peer::{Peer, PeerRole};
use crate::recorder::Recorder;

/// Runs the scenario: 3 kills under 600 calls of each mode in a quick run, 20 kills under 6,000
/// calls in a full one.
///
/// The counts of the report are those of the calls that run at most once. Each server counts a call
/// when the call begins, so *duplicated* is the number of calls that were begun twice.
///
/// Three servers take four requests at a time each, and work 50 ms on each. A killed server is
/// replaced at once. The modes run one after the other, with servers of their own.
///
/// # Errors
///
/// If a call that runs at most once is begun twice, ends otherwise than answered or interrupted, or
/// is interrupted too late. If a call of another mode is not answered.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    let url = plan.url(&broker.url);
    for (mode, figure) in [
        (Redelivery::Default, "default: begun twice"),
        (Redelivery::Idempotent, "idempotent: begun twice"),
    ] {
        let others = Arc::<Recorder>::default();
        Load::new(plan, mode, &others).run(plan, &url).await?;
        let summary = others.summary();
        recorder.figure(figure, summary.duplicated);
        ensure!(
            summary.acknowledged == summary.attempted,
            "not all calls of another mode were answered: {summary}"
        );
    }
    let load = Load::new(plan, Redelivery::AtMostOnce, recorder);
    load.run(plan, &url).await?;
    load.check(plan).await
}

/// Servers at any time.
const SERVERS: usize = 3;
/// Long enough that calls still run, and requests wait behind them, at each kill.
const WORK_MS: u64 = 50;
/// The longest time from the beginning of a call to the kill of its server.
const KILL_AFTER_MS_MAX: u64 = 20;
/// The deadline of a call, far beyond the time within which a caller learns of a death.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The time within which a caller learns of the death of its server.
const TOLD_MAX: Duration = Duration::from_secs(2);

/// A mode of redelivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redelivery {
    /// No mark: a redelivered request runs again.
    Default,
    /// The caller marks the call, and a redelivered request runs again.
    Idempotent,
    /// The servers mark the method, and every other call is marked as well.
    AtMostOnce,
}

/// A load of calls of one mode, and the kills under it.
struct Load {
    mode: Redelivery,
    /// Calls that begin in total.
    total: usize,
    /// Calls in flight at any time.
    callers: usize,
    /// Servers that are killed, one in each share of the calls.
    kills: usize,
    recorder: Arc<Recorder>,
    /// Number of the next call, which exceeds the total in the end.
    begun: AtomicUsize,
    /// Answered calls whose requests were redelivered.
    ran_elsewhere: AtomicUsize,
    /// Interrupted calls, and the time at which each was interrupted.
    interrupted: Mutex<Vec<(u64, Instant)>>,
    /// The time of each kill, by the number of the process.
    killed: Mutex<HashMap<u32, Instant>>,
}

impl Load {
    fn new(plan: &Plan, mode: Redelivery, recorder: &Arc<Recorder>) -> Self {
        Self {
            mode,
            total: plan.pick(600, 6_000),
            callers: plan.pick(40, 60),
            kills: plan.pick(3, 20),
            recorder: recorder.clone(),
            begun: AtomicUsize::new(0),
            ran_elsewhere: AtomicUsize::new(0),
            interrupted: Mutex::default(),
            killed: Mutex::default(),
        }
    }

    /// Makes the calls and kills the oldest server again and again. A kill follows the beginning of
    /// a call at that server by up to 20 ms.
    ///
    /// A call that fails is recorded, and is no error here.
    async fn run(&self, plan: &Plan, url: &str) -> Result<()> {
        let role = match self.mode {
            Redelivery::Default | Redelivery::Idempotent => PeerRole::NarrowServer,
            Redelivery::AtMostOnce => PeerRole::OnceServer,
        };
        let start = || Peer::start(plan, role, url, WORK_MS, &self.recorder);
        let mut servers = VecDeque::new();
        for _ in 0..SERVERS {
            servers.push_back(start().await?);
        }
        let amqp = Amqp::connect(url).await?;
        let client = Client::connect(&amqp, SERVICE, MessagePack).await?;
        let killing = async {
            let mut rng = Rng::with_seed(plan.seed);
            for kill in 0..self.kills {
                self.recorder.until_ended(kill * self.total / self.kills).await?;
                if let Some(server) = servers.pop_front() {
                    // On a busy machine a server may wait for permissions, with no call begun.
                    self.recorder.until_next_effect_of(server.number).await?;
                    sleep(Duration::from_millis(rng.u64(..=KILL_AFTER_MS_MAX))).await;
                    lock(&self.killed).insert(server.number, Instant::now());
                    server.kill().await?;
                }
                servers.push_back(start().await?);
            }
            anyhow::Ok(())
        };
        let calling = join_all((0..self.callers).map(|_| self.call_all(&client)));
        // A kill that fails ends the calls, which may have no server then.
        tokio::try_join!(calling.map(Ok), killing)?;
        Ok(())
    }

    /// Makes calls until all have begun.
    async fn call_all(&self, client: &Client<MessagePack>) {
        while self.begun.fetch_add(1, Ordering::Relaxed) < self.total {
            let id = self.recorder.attempt();
            let (a, b) = (id.cast_signed(), 1_000_000);
            let call = client.request("add").timeout(TIMEOUT);
            let call = match self.mode {
                Redelivery::Default => call,
                Redelivery::Idempotent => call.idempotent(),
                // The method is marked, so the mark of the caller makes no difference.
                Redelivery::AtMostOnce if id.is_multiple_of(2) => call,
                Redelivery::AtMostOnce => call.at_most_once(),
            };
            let outcome: Result<(i64, bool), CallError> = call.call(&(id, a, b)).await;
            match &outcome {
                Ok((_, true)) => drop(self.ran_elsewhere.fetch_add(1, Ordering::Relaxed)),
                Err(error) if is_interrupted(error) => {
                    lock(&self.interrupted).push((id, Instant::now()));
                }
                _ => {}
            }
            self.recorder.call(id, &outcome.map(|(sum, _)| sum), &(a + b));
        }
    }

    /// Checks the calls that run at most once.
    ///
    /// - No call was begun twice.
    /// - Each call was answered or interrupted, and at least one was interrupted.
    /// - The caller learns of the kill within 2 seconds, or within 8 in a quick run.
    async fn check(&self, plan: &Plan) -> Result<()> {
        let recorder = &self.recorder;
        let interrupted = lock(&self.interrupted).clone();
        let killed = lock(&self.killed).clone();
        // A call that was permitted, and whose server died before it began, has no effect.
        let told = interrupted.iter().filter_map(|(id, told)| {
            let by = recorder.process_of(*id)?;
            Some(told.duration_since(*killed.get(&by)?))
        });
        let told: Vec<_> = told.collect();
        let longest = told.iter().max().copied().unwrap_or_default();
        recorder.figure("kills", self.kills);
        recorder.figure("interrupted", interrupted.len());
        recorder.figure("error within", format!("{longest:.2?}"));
        recorder.figure("prefetched, run elsewhere", self.ran_elsewhere.load(Ordering::Relaxed));
        recorder.check_nothing_lost().await?;
        let summary = recorder.summary();
        ensure!(summary.duplicated == 0, "calls were begun twice: {summary}");
        let answered = summary.acknowledged + interrupted.len();
        ensure!(
            answered == summary.attempted,
            "{answered} of the calls were answered or interrupted: {summary}"
        );
        ensure!(!told.is_empty(), "no call was interrupted");
        // Tests share their machine with others.
        let told_max = plan.pick(4 * TOLD_MAX, TOLD_MAX);
        ensure!(longest <= told_max, "a caller got its error {longest:.1?} after its server died");
        Ok(())
    }
}

fn is_interrupted(error: &CallError) -> bool {
    error.fault().is_some_and(|fault| fault.code == Code::Interrupted)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
