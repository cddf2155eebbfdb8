//! A peer process, started and killed by a scenario.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::role::{ARGUMENT, PeerRole, READY};
use crate::plan::Plan;
use crate::recorder::Recorder;
use crate::wait::within;

/// A process whose effects are recorded. Dropping the peer kills the process.
///
/// The process runs the same program as the scenario, with the first argument [`ARGUMENT`].
pub(crate) struct Peer {
    /// The number of the process in the recorder. Peers count from 1, over all scenarios of this
    /// process.
    pub(crate) number: u32,
    process: Child,
    /// Task that records the effects, and ends with the output of the process.
    reading: JoinHandle<()>,
}

/// The number 0 is this process.
static LAST: AtomicU32 = AtomicU32::new(1);

impl Peer {
    /// Starts a peer, and waits until it is ready. Each operation takes the peer `work_ms`.
    ///
    /// The peer is ready when its consumer is registered. After two minutes, the start fails and
    /// the process is killed.
    pub(crate) async fn start(
        plan: &Plan,
        role: PeerRole,
        url: &str,
        work_ms: u64,
        recorder: &Arc<Recorder>,
    ) -> Result<Self> {
        let mut command = Command::new(&plan.program);
        command.args([ARGUMENT, role.name(), url, &work_ms.to_string()]).kill_on_drop(true);
        // The peer ends with its input: a run that is killed leaves no process behind.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a peer")?;
        let mut lines =
            BufReader::new(process.stdout.take().context("a peer has an output")?).lines();
        let first = within("a peer is ready", lines.next_line()).await??;
        anyhow::ensure!(first.as_deref() == Some(READY), "the peer did not become ready");
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let reading = tokio::spawn(read(lines, number, recorder.clone()));
        Ok(Self { number, process, reading })
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits until the process has ended by itself. All its effects are recorded when this returns.
    ///
    /// Dropping the future kills the process.
    pub(crate) async fn ended(mut self) -> Result<()> {
        // Waiting closes the input, which would end the peer.
        let input = self.process.stdin.take();
        self.process.wait().await.context("cannot wait for a peer")?;
        drop(input);
        within("all output of a peer is read", &mut self.reading).await??;
        Ok(())
    }

    /// Kills the process as in a crash. All its effects until then are recorded when this returns.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("cannot kill a peer")?;
        within("all output of a peer is read", &mut self.reading).await??;
        Ok(())
    }
}

/// Records the effects that a peer prints. Output in the pipe outlives the peer.
///
/// Each complete line ends with a dot, so a cut number is not taken for another one.
async fn read(mut lines: Lines<BufReader<ChildStdout>>, by: u32, recorder: Arc<Recorder>) {
    while let Ok(Some(line)) = lines.next_line().await {
        // The last line of a killed peer may be incomplete.
        if let Some(id) = line.strip_suffix('.').and_then(|id| id.parse().ok()) {
            recorder.effect(by, id);
        }
    }
}
