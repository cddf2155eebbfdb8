//! Light traffic between two endpoint handles, until it is stopped.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::worker::Ended;
use polywire_core::{Client, Group, Publisher, Pusher, Router, Server, Subscriber, Worker};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::recorder::Recorder;
use crate::wait::{until, until_some, within};

/// The messaging pattern of some traffic.
#[derive(Clone, Copy)]
pub(crate) enum Pattern {
    /// Calls of a server, which replies with the number.
    Calls,
    /// Jobs for one worker.
    Jobs,
    /// Events for a subscriber with an exclusive queue.
    Events,
    /// Events for a durable group.
    GroupEvents,
}

/// Operations of one pattern. Dropping the traffic ends them.
///
/// An operation has 15 seconds to be acknowledged, and 15 more to be received.
pub(crate) struct Traffic {
    /// Shared with the tasks of both sides.
    state: Arc<State>,
    /// Tasks that start operations. Each ends with its running operation once `stopped` is set.
    sending: JoinSet<()>,
    /// The task of the receiving handle, aborted when the set is dropped.
    _receiving: JoinSet<()>,
}

/// State that both sides share.
///
/// No lock is held across an await. A task that needs both locks takes `acknowledged` first.
struct State {
    sender: Sender,
    recorder: Arc<Recorder>,
    /// Numbers of acknowledged operations. The duration of the scenario bounds both sets.
    acknowledged: Mutex<HashSet<u64>>,
    /// Numbers of received operations. A duplicate changes nothing here, and counts in the
    /// recorder.
    seen: Mutex<HashSet<u64>>,
    /// Set once no operation may start any more.
    stopped: AtomicBool,
}

/// The handle that starts the operations.
enum Sender {
    Client(Client<MessagePack>),
    Pusher(Pusher<MessagePack>),
    Publisher(Publisher<MessagePack>),
}

/// Operations in flight at any time.
const AT_A_TIME: usize = 3;
/// Pause between two operations: speed does not matter here.
const PAUSE: Duration = Duration::from_millis(20);
/// The bound of an operation.
const BRIEF: Duration = Duration::from_secs(15);

impl Traffic {
    /// Opens both endpoint handles, and starts the operations.
    ///
    /// # Errors
    ///
    /// If a handle cannot be opened.
    pub(crate) async fn start(
        pattern: Pattern,
        name: &str,
        sending: &Amqp,
        receiving: &Amqp,
        recorder: &Arc<Recorder>,
    ) -> Result<Self> {
        // The receiver comes first: events reach only subscribers that exist.
        let receiver = Receiver::open(pattern, name, receiving).await?;
        let sender = Sender::open(pattern, name, sending).await?;
        let (acknowledged, seen) = (Mutex::default(), Mutex::default());
        let stopped = AtomicBool::new(false);
        let recorder = recorder.clone();
        let state = Arc::new(State { sender, recorder, acknowledged, seen, stopped });
        let mut receiving = JoinSet::new();
        receiving.spawn(receiver.run(state.clone()));
        let mut sending = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let state = state.clone();
            sending.spawn(async move {
                while !state.stopped.load(Ordering::Acquire) {
                    state.operate().await;
                    sleep(PAUSE).await;
                }
            });
        }
        Ok(Self { state, sending, _receiving: receiving })
    }

    /// Waits until an operation that starts after this call is acknowledged and received.
    ///
    /// Each attempt is an operation of its own, beside those in the background.
    ///
    /// # Errors
    ///
    /// If that takes longer than two minutes.
    pub(crate) async fn until_flowing(&self) -> Result<()> {
        until_some("an operation is acknowledged and received", || self.state.operate()).await
    }

    /// Starts no more operations, and waits until the running ones have ended and every
    /// acknowledged one is received.
    ///
    /// # Errors
    ///
    /// If an acknowledged operation is not received. The recorder counts it; the error says which
    /// traffic has lost it.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.state.stopped.store(true, Ordering::Release);
        within("all operations have ended", async {
            while self.sending.join_next().await.is_some() {}
        })
        .await?;
        let all_seen =
            until("every acknowledged operation is received", || self.state.unseen().is_empty())
                .await;
        all_seen
            .with_context(|| format!("acknowledged and not received: {:?}", self.state.unseen()))
    }
}

impl State {
    /// Records a server or a worker whose transport refused for good.
    ///
    /// A drain and a close are no failures.
    fn ended(&self, what: &str, ended: polywire_core::Result<Ended>) {
        if let Err(error) = ended {
            self.recorder.failed(format!("{what}: {error}"));
        }
    }

    /// Carries out an operation. Returns `None` if it is not acknowledged and received in time.
    ///
    /// An operation that is received too late counts as received in the end.
    async fn operate(&self) -> Option<()> {
        let id = self.recorder.attempt();
        let acknowledged = match &self.sender {
            Sender::Client(client) => {
                let outcome = client.request("note").timeout(BRIEF).call(&id).await;
                self.recorder.call(id, &outcome, &id);
                outcome.is_ok()
            }
            Sender::Pusher(pusher) => self.sent(id, &pusher.push(&id).await),
            Sender::Publisher(publisher) => self.sent(id, &publisher.publish("noted", &id).await),
        };
        if !acknowledged {
            return None;
        }
        lock(&self.acknowledged).insert(id);
        // The receiver may be a moment later. The recorder counts an operation that is lost.
        let seen = until_some("the operation is received", || async {
            lock(&self.seen).contains(&id).then_some(())
        });
        timeout(BRIEF, seen).await.ok()?.ok()
    }

    /// Records the end of a push or a publish. Returns true if the broker acknowledged the message.
    fn sent(&self, id: u64, outcome: &polywire_core::Result<()>) -> bool {
        self.recorder.send(id, outcome);
        outcome.is_ok()
    }

    /// Records that the receiver got an operation. The process of the effect is this one.
    fn note(&self, id: u64) {
        lock(&self.seen).insert(id);
        self.recorder.effect(0, id);
    }

    /// Returns the acknowledged operations that are not yet received, in any order.
    fn unseen(&self) -> Vec<u64> {
        lock(&self.acknowledged).difference(&lock(&self.seen)).copied().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    /// Opens the handle for a pattern. Pushes and publishes get the bound of an operation here, and
    /// a call gets its own.
    async fn open(pattern: Pattern, name: &str, amqp: &Amqp) -> Result<Self> {
        Ok(match pattern {
            Pattern::Calls => Self::Client(Client::connect(amqp, name, MessagePack).await?),
            Pattern::Jobs => {
                Self::Pusher(Pusher::connect(amqp, name, MessagePack).timeout(BRIEF).await?)
            }
            Pattern::Events | Pattern::GroupEvents => {
                Self::Publisher(Publisher::connect(amqp, name, MessagePack).timeout(BRIEF).await?)
            }
        })
    }
}

/// The handle that receives the operations.
enum Receiver {
    Server(Box<Server>),
    Worker(Box<Worker<MessagePack>>),
    Subscriber(Subscriber<u64>),
}

impl Receiver {
    /// Opens the handle for a pattern. Events of a group go to the durable group `all`.
    async fn open(pattern: Pattern, name: &str, amqp: &Amqp) -> Result<Self> {
        Ok(match pattern {
            Pattern::Calls => Self::Server(Box::new(Server::bind(amqp, name).await?)),
            Pattern::Jobs => Self::Worker(Box::new(Worker::bind(amqp, name, MessagePack).await?)),
            Pattern::Events => Self::Subscriber(Subscriber::bind(amqp, name, MessagePack).await?),
            Pattern::GroupEvents => {
                let group = Group::new("all")?.durable();
                Self::Subscriber(Subscriber::bind(amqp, name, MessagePack).group(group).await?)
            }
        })
    }

    /// Receives until the handle ends. Failures of the handle are recorded by kind, and end nothing
    /// else.
    async fn run(self, state: Arc<State>) {
        match self {
            Self::Server(server) => {
                let noting = state.clone();
                let note = move |id: u64| {
                    noting.note(id);
                    async move { Ok(id) }
                };
                let serving = server.serve(Router::new(MessagePack).method("note", note));
                state.ended("server", serving.await);
            }
            Self::Worker(worker) => {
                let noting = state.clone();
                let note = move |id: u64| {
                    noting.note(id);
                    async { Ok(()) }
                };
                state.ended("worker", worker.work(note).await);
            }
            Self::Subscriber(mut subscriber) => {
                while let Some(event) = subscriber.next().await {
                    match event {
                        Ok(event) => {
                            state.note(*event);
                            event.ack();
                        }
                        Err(error) => state.recorder.failed(format!("subscriber: {error}")),
                    }
                }
            }
        }
    }
}
