//! The subscribing end.

mod inbox;
mod interest;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use polywire_core::transport::{Delivery, Filters, Inbound, Receiver, Subscription};
use polywire_core::{Address, Error, Limits, Result};

use self::inbox::Inbox;
use self::interest::Interests;
use crate::config::Settings;
use crate::engine::{self, Sub};
use crate::error::config;
use crate::plan::{Change, Plan};
use crate::transport::{Bound, End, Listening};
use crate::wire::{Channel, Frames, Native, Role, Wire};

/// Opens a subscribing end of `channel`. When it returns, every publisher that is connected by then
/// has heard it.
pub(crate) async fn open(
    settings: &Settings,
    plan: &Plan,
    channel: &Address,
    subscription: Subscription,
    bound: &Bound,
) -> Result<(Arc<dyn End>, Receiver, Filters)> {
    if plan.is_empty() {
        return Err(config("no endpoint is for calling ends"));
    }
    if subscription.group.is_some() {
        return Err(Error::unsupported("groups"));
    }
    let socket = engine::open_sub(settings, subscription.window)?;
    let inbox = Arc::new(Inbox::new(socket.messages()));
    let channel = Channel::new(channel);
    let interests =
        Interests::new(socket.clone(), inbox.clone(), channel.clone(), settings.connect_timeout);
    // Before there is anybody to hear it, so that each hears all of it at once.
    interests.begin_with(subscription.filters).await?;
    let subscriber = Arc::new(Subscriber {
        socket,
        interests,
        listening: Listening::new(bound),
        closed: AtomicBool::new(false),
    });
    for change in plan.changes() {
        subscriber.apply(&change).await?;
    }
    subscriber.interests.settle().await?;
    let events = Events { subscriber: subscriber.clone(), inbox, channel, limits: settings.limits };
    let filters = Filters::new(interest::Of(subscriber.clone()));
    Ok((subscriber, Receiver::new(events), filters))
}

/// The socket of a subscribing end.
struct Subscriber {
    socket: Arc<dyn Sub>,
    interests: Interests,
    listening: Listening,
    /// Stopped, dropped or closed; its filters, which may live on, hold it.
    closed: AtomicBool,
}

impl Subscriber {
    async fn apply(&self, change: &Change) -> Result<Option<String>> {
        let real = engine::change_endpoint(&*self.socket, change).await?;
        self.listening.note(change, real.as_ref());
        Ok(real)
    }
}

impl End for Subscriber {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
        let changed = async {
            if self.closed.load(Ordering::Acquire) {
                return Ok(None);
            }
            let real = self.apply(change).await?;
            self.interests.settle().await?;
            Ok(real)
        };
        changed.boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        self.listening.clear();
        self.socket.close()
    }
}

/// The receiving half.
struct Events {
    subscriber: Arc<Subscriber>,
    inbox: Arc<Inbox>,
    channel: Channel,
    limits: Limits,
}

impl Events {
    /// What came as an event of ours; `None` if it is of another channel, or an answer that nobody
    /// waits for any more.
    fn read(&self, first: &Bytes, frames: Frames) -> Option<Result<Delivery>> {
        let topic = match self.channel.topic(first)? {
            Ok(topic) => topic,
            Err(error) => return Some(Err(error)),
        };
        match Native.decode(frames, &self.limits) {
            Ok((Role::Event, mut message)) => {
                message.topic = Some(topic);
                // Nobody waits for an answer.
                message.id = None;
                Some(Ok(Delivery::settled(message)))
            }
            Ok((role, _)) => {
                tracing::debug!(?role, "dropped what came where events come");
                None
            }
            Err(garbled) => Some(Err(garbled.error.with("topic", topic))),
        }
    }
}

impl Stream for Events {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some((first, frames)) = ready!(self.inbox.poll_take(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(item) = self.read(&first, frames) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl Inbound for Events {
    /// What is here is still yielded.
    fn stop(self: Pin<&mut Self>) {
        self.inbox.stop();
        self.hang_up();
    }
}

impl Events {
    fn hang_up(&self) {
        let close = self.subscriber.close();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(close);
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // The filters, which may live on, hold the socket as well; nobody would read it, and
        // publishers would wait.
        self.inbox.clear();
        self.hang_up();
    }
}
