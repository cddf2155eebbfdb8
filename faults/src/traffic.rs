//! Operations that flow from one end to the other, a few at a time, until they are to stop.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{Client, Group, Publisher, Pusher, Router, Server, Subscriber, Worker};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::book::Book;
use crate::patience::{until, until_some, within};

/// What the two ends do together.
#[derive(Clone, Copy)]
pub(crate) enum Pattern {
    Calls,
    Jobs,
    /// For a subscriber of its own.
    Events,
    /// For a durable group.
    GroupEvents,
}

/// Operations of one pattern. They end when this is dropped.
pub(crate) struct Traffic {
    line: Arc<Line>,
    sending: JoinSet<()>,
    _taking: JoinSet<()>,
}

/// What the two sides share.
struct Line {
    end: SendingEnd,
    book: Arc<Book>,
    acknowledged: Mutex<HashSet<u64>>,
    seen: Mutex<HashSet<u64>>,
    over: AtomicBool,
}

enum SendingEnd {
    Client(Client<MessagePack>),
    Pusher(Pusher<MessagePack>),
    Publisher(Publisher<MessagePack>),
}

/// How many operations are begun at any time.
const AT_A_TIME: usize = 3;
/// Between two operations, since it is not the speed that is looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an operation may take.
const BRIEF: Duration = Duration::from_secs(15);

impl Traffic {
    pub(crate) async fn start(
        pattern: Pattern,
        name: &str,
        sending: &Amqp,
        taking: &Amqp,
        book: &Arc<Book>,
    ) -> Result<Self> {
        // The taking end first: events are for those who are there.
        let taken = TakingEnd::open(pattern, name, taking).await?;
        let end = SendingEnd::open(pattern, name, sending).await?;
        let (acknowledged, seen) = (Mutex::default(), Mutex::default());
        let over = AtomicBool::new(false);
        let line = Arc::new(Line { end, book: book.clone(), acknowledged, seen, over });
        let mut taking = JoinSet::new();
        taking.spawn(taken.take(line.clone()));
        let mut sending = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let line = line.clone();
            sending.spawn(async move {
                while !line.over.load(Ordering::Acquire) {
                    line.operate().await;
                    sleep(PAUSE).await;
                }
            });
        }
        Ok(Self { line, sending, _taking: taking })
    }

    /// Waits until an operation that begins now, or later, is acknowledged and seen.
    pub(crate) async fn until_it_flows(&self) -> Result<()> {
        until_some("an operation is acknowledged and seen", || self.line.operate()).await
    }

    /// Begins no more, and waits until those end that were begun, and all is seen that was
    /// acknowledged.
    ///
    /// # Errors
    ///
    /// If something is not seen. The book counts it; who waits here knows where it was lost.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.line.over.store(true, Ordering::Release);
        within("all operations have ended", async {
            while self.sending.join_next().await.is_some() {}
        })
        .await?;
        let all_seen =
            until("all is seen that was acknowledged", || self.line.unseen().is_empty()).await;
        all_seen.with_context(|| format!("acknowledged, and not seen: {:?}", self.line.unseen()))
    }
}

impl Line {
    /// Carries out an operation; nothing if it is not acknowledged.
    async fn operate(&self) -> Option<()> {
        let id = self.book.attempt();
        let acknowledged = match &self.end {
            SendingEnd::Client(client) => {
                let outcome = client.request("note").timeout(BRIEF).call(&id).await;
                self.book.call(id, &outcome, &id);
                outcome.is_ok()
            }
            SendingEnd::Pusher(pusher) => self.sent(id, &pusher.push(&id).await),
            SendingEnd::Publisher(publisher) => {
                self.sent(id, &publisher.publish("noted", &id).await)
            }
        };
        if !acknowledged {
            return None;
        }
        lock(&self.acknowledged).insert(id);
        // It may arrive a moment later; one that does not is lost, which is for the book to say.
        let seen =
            until_some("it is seen", || async { lock(&self.seen).contains(&id).then_some(()) });
        timeout(BRIEF, seen).await.ok()?.ok()
    }

    fn sent(&self, id: u64, outcome: &polywire_core::Result<()>) -> bool {
        self.book.send(id, outcome);
        outcome.is_ok()
    }

    fn note(&self, id: u64) {
        lock(&self.seen).insert(id);
        self.book.effect(0, id);
    }

    fn unseen(&self) -> Vec<u64> {
        lock(&self.acknowledged).difference(&lock(&self.seen)).copied().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SendingEnd {
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

enum TakingEnd {
    Server(Box<Server>),
    Worker(Worker<MessagePack>),
    Subscriber(Subscriber<u64>),
}

impl TakingEnd {
    async fn open(pattern: Pattern, name: &str, amqp: &Amqp) -> Result<Self> {
        Ok(match pattern {
            Pattern::Calls => Self::Server(Box::new(Server::bind(amqp, name).await?)),
            Pattern::Jobs => Self::Worker(Worker::bind(amqp, name, MessagePack).await?),
            Pattern::Events => Self::Subscriber(Subscriber::bind(amqp, name, MessagePack).await?),
            Pattern::GroupEvents => {
                let group = Group::new("all")?.durable();
                Self::Subscriber(Subscriber::bind(amqp, name, MessagePack).group(group).await?)
            }
        })
    }

    async fn take(self, line: Arc<Line>) {
        match self {
            Self::Server(server) => {
                let note = move |id: u64| {
                    line.note(id);
                    async move { Ok(id) }
                };
                server.serve(Router::new(MessagePack).method("note", note)).await;
            }
            Self::Worker(worker) => {
                let note = move |id: u64| {
                    line.note(id);
                    async { Ok(()) }
                };
                worker.work(note).await;
            }
            Self::Subscriber(mut subscriber) => {
                while let Some(event) = subscriber.next().await {
                    match event {
                        Ok(event) => {
                            line.note(*event);
                            event.ack();
                        }
                        Err(error) => line.book.failed(format!("a subscriber heard: {error}")),
                    }
                }
            }
        }
    }
}
