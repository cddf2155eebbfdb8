//! What a subscriber wants, and the wait until all publishers know.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use polywire_core::transport::FilterControl;
use polywire_core::{Filter, Result};
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Subscriber;
use super::inbox::Inbox;
use crate::engine::Sub;
use crate::error::closed;
use crate::wire::{Channel, Frames, Hello, UNIQUE};

/// The filters of a subscription, changed one after the other.
pub(super) struct Interests {
    socket: Arc<dyn Sub>,
    inbox: Arc<Inbox>,
    channel: Channel,
    connect_timeout: Duration,
    wanted: Mutex<Wanted>,
}

#[derive(Default)]
struct Wanted {
    filters: Vec<Filter>,
    /// Subscribed to after everything else, so that a publisher who hears it has heard all.
    hello: Option<Hello>,
}

impl Interests {
    pub(super) fn new(
        socket: Arc<dyn Sub>,
        inbox: Arc<Inbox>,
        channel: Channel,
        connect_timeout: Duration,
    ) -> Self {
        Self { socket, inbox, channel, connect_timeout, wanted: Mutex::default() }
    }

    /// Wants what matches these, before anybody is there to hear it.
    pub(super) async fn begin_with(&self, filters: Vec<Filter>) -> Result<()> {
        let mut wanted = self.wanted.lock().await;
        for filter in filters {
            self.want(&mut wanted, filter).await?;
        }
        self.say_hello(&mut wanted).await.map(drop)
    }

    /// Waits until everybody who is there has heard what is wanted.
    pub(super) async fn settle(&self) -> Result<()> {
        let give_up = Instant::now() + self.connect_timeout;
        // Who is not there by then is not waited for.
        let _ = timeout_at(give_up, self.socket.ready()).await;
        let mut wanted = self.wanted.lock().await;
        self.be_heard(&mut wanted, give_up).await
    }

    async fn add(&self, filter: Filter) -> Result<()> {
        let mut wanted = self.wanted.lock().await;
        self.want(&mut wanted, filter).await?;
        self.be_heard(&mut wanted, Instant::now() + self.connect_timeout).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        let mut wanted = self.wanted.lock().await;
        let Some(at) = wanted.filters.iter().position(|other| *other == filter) else {
            return Ok(());
        };
        wanted.filters.swap_remove(at);
        match wanted.has_prefix(&filter) {
            true => Ok(()),
            false => self.socket.unsubscribe(self.channel.prefix(&filter)).await,
        }
    }

    async fn want(&self, wanted: &mut Wanted, filter: Filter) -> Result<()> {
        if wanted.filters.contains(&filter) {
            return Ok(());
        }
        // Several filters may have one prefix, which is wanted once.
        if !wanted.has_prefix(&filter) {
            self.socket.subscribe(self.channel.prefix(&filter)).await?;
        }
        wanted.filters.push(filter);
        Ok(())
    }

    /// Says hello until every publisher that is there has answered, or the time is over. An answer
    /// may be lost with a connection, or because we take too long to read what is before it.
    async fn be_heard(&self, wanted: &mut Wanted, give_up: Instant) -> Result<()> {
        let mut patience = PATIENCE_MIN;
        while Instant::now() < give_up {
            if self.socket.publisher_count().await? == 0 {
                // Those who come hear everything at once.
                return Ok(());
            }
            let hello = self.say_hello(wanted).await?;
            match timeout_at(give_up, timeout(patience, self.answers(&hello))).await {
                Ok(Ok(heard)) => return heard,
                Ok(Err(_)) => patience *= 2,
                Err(_) => break,
            }
        }
        tracing::warn!("a publisher did not say in time whether it has heard a subscriber");
        Ok(())
    }

    /// Subscribes to a fresh hello after everything else, in place of the one before.
    async fn say_hello(&self, wanted: &mut Wanted) -> Result<Hello> {
        let hello = Hello::fresh();
        self.socket.subscribe(hello.frame().clone()).await?;
        if let Some(before) = wanted.hello.replace(hello.clone()) {
            self.socket.unsubscribe(before.frame().clone()).await?;
        }
        Ok(hello)
    }

    /// Waits until there are as many answers as there are connections.
    async fn answers(&self, hello: &Hello) -> Result<()> {
        let mut ear = self.inbox.listen();
        let mut answered = FxHashMap::<[u8; UNIQUE], usize>::default();
        while answered.values().sum::<usize>() < self.socket.publisher_count().await? {
            tokio::select! {
                answer = ear.answer() => {
                    let (to, Frames { head, .. }) = answer.ok_or_else(closed)?;
                    if to == *hello && let Some((publisher, connections)) = Hello::read_answer(&head) {
                        let most = answered.entry(publisher).or_default();
                        // No number that a stranger writes adds up to more than there is memory for.
                        *most = usize::from(u16::try_from(connections).unwrap_or(u16::MAX)).max(*most);
                    }
                }
                // A connection may be lost, with its answer.
                () = sleep_until(Instant::now() + RECOUNT) => {}
            }
        }
        Ok(())
    }
}

const PATIENCE_MIN: Duration = Duration::from_millis(200);
const RECOUNT: Duration = Duration::from_millis(50);

impl Wanted {
    fn has_prefix(&self, filter: &Filter) -> bool {
        self.filters.iter().any(|other| other.prefix() == filter.prefix())
    }
}

/// The filters, as core changes them.
pub(super) struct Of(pub(super) Arc<Subscriber>);

impl FilterControl for Of {
    fn add(&self, filter: Filter) -> BoxFuture<'_, Result<()>> {
        self.0.interests.add(filter).boxed()
    }

    fn remove(&self, filter: Filter) -> BoxFuture<'_, Result<()>> {
        self.0.interests.remove(filter).boxed()
    }
}
