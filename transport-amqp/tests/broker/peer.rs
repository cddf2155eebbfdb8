//! Processes that handle messages, and that some of the messages end.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use polywire_amqp::{Amqp, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::{
    Context, Fault, Group, Listener, Result, Retries, Router, Server, Window, Worker,
};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

use crate::context::PATIENCE;

/// The number that ends the process of each handler.
pub(crate) const POISON: u32 = 12;

/// The number that ends a process once 128 of them run in it.
pub(crate) const DYING: u32 = 1000;

/// First argument of this program as a peer; the role, the URL, the kind and the name follow.
const ARGUMENT: &str = "--peer";

/// Line of a peer that is bound.
const READY: &str = "ready";

/// The endpoint handle of a peer.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Worker,
    Listener,
    Server,
}

/// A message that a handler has done.
pub(crate) struct Done {
    pub(crate) number: u32,
    pub(crate) attempt: u32,
    pub(crate) is_redelivered: bool,
}

/// Processes of one role, one after the other.
pub(crate) struct Peers {
    arguments: [String; 5],
    current: Option<(Child, Lines<BufReader<ChildStdout>>)>,
    pub(crate) done: Vec<Done>,
    pub(crate) deaths: usize,
}

impl Peers {
    /// Describes the peers, and starts none. They use the queue, channel or service `name`.
    pub(crate) fn new(role: Role, url: &str, kind: QueueKind, name: &str) -> Self {
        let role = match role {
            Role::Worker => "worker",
            Role::Listener => "listener",
            Role::Server => "server",
        };
        let arguments = [ARGUMENT, role, url, &kind.to_string(), name].map(str::to_owned);
        Self { arguments, current: None, done: Vec::new(), deaths: 0 }
    }

    /// Starts a peer, and waits until it is bound.
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(&self.arguments).kill_on_drop(true).stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.expect("the peer is bound").unwrap();
        assert_eq!(first.as_deref(), Some(READY));
        self.current = Some((process, lines));
    }

    /// Runs peers, and starts one whenever the last has died, until this many messages are done and
    /// the poison has taken down no more peers for a second.
    pub(crate) async fn run_until_done(&mut self, messages: usize) {
        loop {
            if self.current.is_none() {
                self.start().await;
            }
            let (process, lines) = self.current.as_mut().unwrap();
            let limit = if self.done.len() < messages { PATIENCE } else { QUIET };
            match timeout(limit, lines.next_line()).await {
                Ok(Ok(Some(line))) => self.done.extend(parse(&line)),
                Ok(_) => {
                    process.wait().await.unwrap();
                    (self.current, self.deaths) = (None, self.deaths + 1);
                }
                Err(_) => {
                    assert!(self.done.len() >= messages, "{} of {messages}", self.done.len());
                    return;
                }
            }
        }
    }
}

/// Longest time of a peer between two messages.
const QUIET: Duration = Duration::from_secs(3);

fn parse(line: &str) -> Option<Done> {
    let mut parts = line.split(' ');
    let number = parts.next()?.parse().ok()?;
    let attempt = parts.next()?.parse().ok()?;
    Some(Done { number, attempt, is_redelivered: parts.next()? == "true" })
}

/// Runs this process as a peer if the arguments say so. Returns whether they do.
pub(crate) fn run_if_asked() -> bool {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [first, role, url, kind, name] = &arguments[..] else { return false };
    if first != ARGUMENT {
        return false;
    }
    // A test that is killed leaves no process behind.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(role, url, kind.parse().unwrap(), name)).unwrap();
    true
}

async fn run(role: &str, url: &str, kind: QueueKind, name: &str) -> Result<()> {
    let amqp = Amqp::builder(url)?.queue_kind(kind).build().await?;
    let (window, retries) = (Window::new(16), Retries::at_once(4));
    match role {
        "worker" => {
            let worker = Worker::bind(&amqp, name, MessagePack).window(window).retries(retries);
            let worker = worker.await?;
            println!("{READY}");
            worker.work(handle).await.unwrap();
        }
        "listener" => {
            let group = Group::new("billing")?.durable();
            let listener = Listener::bind(&amqp, name, MessagePack).group(group).window(window);
            let listener = listener.retries(retries).await?;
            println!("{READY}");
            listener.listen(handle).await.unwrap();
        }
        _ => {
            let server = Server::bind(&amqp, name).deliveries(4).await?;
            let all = Arc::new(Barrier::new(128));
            let router = Router::new(MessagePack)
                .method("double", |context: Context, n: u32| async move {
                    handle(context, n).await.map(|()| 2 * n)
                })
                .method("die", move |context: Context, n: u32| {
                    let all = all.clone();
                    async move {
                        if !context.is_redelivered() {
                            all.wait().await;
                            std::process::abort();
                        }
                        handle(context, n).await.map(|()| n)
                    }
                });
            println!("{READY}");
            server.serve(router).await.unwrap();
        }
    }
    Ok(())
}

/// Works for a moment. The poison ends the process meanwhile.
async fn handle(context: Context, n: u32) -> Result<(), Fault> {
    if n == POISON {
        sleep(Duration::from_millis(20)).await;
        std::process::abort();
    }
    sleep(if n == DYING { Duration::from_millis(5) } else { Duration::from_millis(60) }).await;
    println!("{n} {} {}", context.attempt, context.is_redelivered());
    Ok(())
}
