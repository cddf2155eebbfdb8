//! Processes that serve and work: started, and killed.

mod play;

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;

pub use self::play::play;
use crate::Plan;
use crate::book::Book;
use crate::patience::within;

/// The first argument of a program that is to [`play()`] a peer.
pub const ARGUMENT: &str = "--peer";

/// What a peer says when it is ready. Whatever else it says is the number of an operation that it
/// carried out.
const READY: &str = "ready";

/// What a peer is.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// A server of the service.
    Server,
    /// One that does not carry out again what it has carried out.
    CarefulServer,
    /// A worker on the queue.
    Worker,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::CarefulServer => "careful-server",
            Self::Worker => "worker",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let all = [Self::Server, Self::CarefulServer, Self::Worker];
        all.into_iter().find(|role| role.name() == name).context("no such role")
    }
}

/// A process whose deeds are noted in the book. It ends when this is dropped.
pub(crate) struct Peer {
    /// Its number in the book.
    pub(crate) number: u32,
    process: Child,
    reading: JoinHandle<()>,
}

/// 0 is this process.
static LAST: AtomicU32 = AtomicU32::new(1);

impl Peer {
    /// Starts one, and waits until it is ready. Each thing that it does takes `work_ms`.
    pub(crate) async fn start(
        plan: &Plan,
        role: Role,
        url: &str,
        work_ms: u64,
        book: &Arc<Book>,
    ) -> Result<Self> {
        let mut command = Command::new(&plan.program);
        command.args([ARGUMENT, role.name(), url, &work_ms.to_string()]).kill_on_drop(true);
        // It ends when its input does, so that none is left behind by a run that is killed.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("a peer does not start")?;
        let mut said =
            BufReader::new(process.stdout.take().context("a peer has an output")?).lines();
        let first = within("a peer is ready", said.next_line()).await??;
        anyhow::ensure!(first.as_deref() == Some(READY), "a peer did not get ready");
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let reading = tokio::spawn(read(said, number, book.clone()));
        Ok(Self { number, process, reading })
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Ends it as a crash would. All that it did by then is in the book when this returns.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.context("a peer cannot be killed")?;
        within("all is read that a peer said", &mut self.reading).await??;
        Ok(())
    }
}

/// What is in the pipe outlives whoever wrote it.
async fn read(mut said: Lines<BufReader<ChildStdout>>, by: u32, book: Arc<Book>) {
    while let Ok(Some(line)) = said.next_line().await {
        // The last line of one that was killed may be half of one.
        if let Some(id) = line.strip_suffix('.').and_then(|id| id.parse().ok()) {
            book.effect(by, id);
        }
    }
}
