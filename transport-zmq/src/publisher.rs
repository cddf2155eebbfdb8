//! The publishing end, and the task that answers to subscribers who ask whether they were heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Limits, Message, Result};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::Settings;
use crate::engine::{self, XPub};
use crate::error::{closed, config};
use crate::plan::{Change, Plan};
use crate::transport::{Bound, End, Listening};
use crate::wire::{Channel, Frames, Hello, Native, Role, Wire, unique};

/// Opens the publishing end of `channel`. When it returns, the subscribers who listen where it
/// dials are heard.
pub(crate) async fn open(
    settings: &Settings,
    plan: &Plan,
    channel: &Address,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Sender)> {
    if plan.is_empty() {
        return Err(config("no endpoint is for serving ends"));
    }
    let socket = engine::open_xpub(settings)?;
    let attendant = tokio::spawn(attend(socket.clone(), socket.sync_markers())).abort_handle();
    let publisher = Arc::new(Publisher {
        socket,
        attendant,
        connect_timeout: settings.connect_timeout,
        closed: AtomicBool::new(false),
        listening: Listening::new(bound),
    });
    for change in plan.changes() {
        publisher.apply(&change).await?;
    }
    publisher.settle().await;
    let events = Events {
        publisher: publisher.clone(),
        channel: Channel::new(channel),
        limits: settings.limits,
    };
    Ok((publisher, Sender::new(events)))
}

/// The socket of a publishing end.
struct Publisher {
    socket: Arc<dyn XPub>,
    attendant: AbortHandle,
    connect_timeout: Duration,
    closed: AtomicBool,
    listening: Listening,
}

impl Publisher {
    async fn apply(&self, change: &Change) -> Result<Option<String>> {
        let real = engine::change_endpoint(&*self.socket, change).await?;
        self.listening.note(change, real.as_ref());
        Ok(real)
    }

    async fn settle(&self) {
        // Who has not said by then what it wants is not waited for.
        let _ = timeout(self.connect_timeout, self.socket.ready()).await;
    }
}

impl End for Publisher {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
        let changed = async {
            let real = self.apply(change).await?;
            self.settle().await;
            Ok(real)
        };
        changed.boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        self.attendant.abort();
        self.listening.clear();
        self.socket.close()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // It holds the socket.
        self.attendant.abort();
    }
}

/// Answers hellos until the socket is closed.
pub(crate) async fn attend(socket: Arc<dyn XPub>, mut hellos: BoxStream<'static, (Hello, u32)>) {
    let own = unique();
    while let Some((hello, connections)) = hellos.next().await {
        let frames = Frames { head: Hello::answer(&own, connections), body: None };
        // It waits for nothing large; but if a subscriber has not taken as many messages as the
        // engine holds, it comes to nothing, for others are not to wait. Whoever asked says
        // hello again.
        let _ = timeout(ANSWER_PATIENCE, socket.send(hello.frame().clone(), frames)).await;
    }
}

const ANSWER_PATIENCE: Duration = Duration::from_millis(100);

/// The sending half.
struct Events {
    publisher: Arc<Publisher>,
    channel: Channel,
    limits: Limits,
}

impl Events {
    fn encode(&self, mut message: Message) -> Result<(bytes::Bytes, Frames)> {
        if self.publisher.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.limits.check(&message)?;
        let topic = message.topic.take().ok_or_else(|| config("what is published has no topic"))?;
        Ok((self.channel.frame(&topic), Native.encode(&Role::Event, message, &self.limits)?))
    }
}

impl Outbound for Events {
    fn send(&self, message: Message) -> Sending<'_> {
        match self.encode(message) {
            Ok((first, frames)) => self.publisher.socket.send(first, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}
