//! The end that takes events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::QueueBindOptions;
use lapin::types::{FieldTable, ShortString};
use polywire_core::transport::{FilterControl, Filters, Receiver, Subscription, async_trait};
use polywire_core::{Address, Error, ErrorKind, Filter, Group, Limits, Message, Result};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::QueueKind;
use crate::backoff::{PAUSE_MIN, pause};
use crate::consumer::{self, GivingBack, Source};
use crate::error::failed;
use crate::puller::giving_back;
use crate::topology::{Queue, declare_exchange};
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{Native, Wire};

/// Opens a subscribing end of `channel`; whatever is published after this has returned comes.
pub(crate) async fn open(
    transport: &Arc<Inner>,
    channel: &Address,
    subscription: Subscription,
) -> Result<(Receiver, Filters)> {
    let Subscription { filters, group, window, .. } = subscription;
    let queue = match &group {
        Some(group) => group_queue(transport, channel, group)?,
        None => own_queue(channel)?,
    };
    let giving_back = if group.is_some() { giving_back(&queue) } else { GivingBack::Broker };
    let (exchange, filters) = (Native.event_exchange(channel)?, Mutex::new(filters));
    if group.is_none() {
        // Taken out again by `leave`, also if opening fails or is given up.
        transport.add_private(&queue);
    }
    let (is_own, is_left) = (group.is_none(), AtomicBool::new(false));
    let events = Arc::new(Events { queue, exchange, filters, is_own, giving_back, is_left });
    let receiver = consumer::open(transport, events.clone(), window).await?;
    Ok((receiver, Filters::new(Wanted { transport: transport.clone(), events })))
}

fn group_queue(transport: &Inner, channel: &Address, group: &Group) -> Result<Queue> {
    let (name, queues) = (Native.group_queue(channel, group.name())?, &transport.config.queues);
    Ok(if group.is_durable() { queues.kept(name) } else { queues.expiring(name, EXPIRES) })
}

fn own_queue(channel: &Address) -> Result<Queue> {
    Ok(Queue::expiring(Native.own_queue(channel, unique())?, QueueKind::Classic, EXPIRES))
}

/// How long a queue waits for subscribers that are away, unless it stays.
const EXPIRES: Duration = Duration::from_secs(60);

/// Where it takes from.
struct Events {
    queue: Queue,
    exchange: ShortString,
    /// Held while the broker is told, so that what it is told is what stands here: also if a
    /// filter goes while all are bound to a new channel.
    filters: Mutex<Vec<Filter>>,
    is_own: bool,
    giving_back: GivingBack,
    is_left: AtomicBool,
}

impl Source for Events {
    const TELLS_OF_LOSS: bool = true;

    fn queue(&self) -> &Queue {
        &self.queue
    }

    async fn feed(&self, channel: &Channel, is_new: bool) -> Result<()> {
        declare_exchange(channel, &self.exchange).await?;
        // What a group wants stands at the broker: other members may have changed it since.
        if !self.is_own && !is_new {
            return Ok(());
        }
        for filter in &*self.filters.lock().await {
            self.bind(channel, filter).await?;
        }
        Ok(())
    }

    fn read(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        Native.decode_event(raw, limits)
    }

    fn giving_back(&self) -> GivingBack {
        self.giving_back
    }

    async fn leave(&self, transport: &Inner) {
        self.is_left.store(true, Ordering::Release);
        if self.is_own {
            transport.delete_private(&self.queue).await;
        }
    }
}

impl Events {
    async fn bind(&self, channel: &Channel, filter: &Filter) -> Result<()> {
        let (queue, exchange, key) =
            (self.queue.name.clone(), self.exchange.clone(), binding_key(filter));
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        let bound = channel.queue_bind(queue, exchange, key, options, arguments).await;
        bound.map_err(|error| failed("cannot add the filter", error).with("filter", filter))
    }

    async fn unbind(&self, channel: &Channel, filter: &Filter) -> Result<()> {
        let (queue, exchange, key) =
            (self.queue.name.clone(), self.exchange.clone(), binding_key(filter));
        let unbound = channel.queue_unbind(queue, exchange, key, FieldTable::default()).await;
        unbound.map_err(|error| failed("cannot drop the filter", error).with("filter", filter))
    }
}

/// A filter means the same to us and to a topic exchange.
fn binding_key(filter: &Filter) -> ShortString {
    // No filter is as long as a short string may be.
    filter.as_str().into()
}

/// The filters of an open subscription.
struct Wanted {
    transport: Arc<Inner>,
    events: Arc<Events>,
}

#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

#[async_trait]
impl FilterControl for Wanted {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.change(Change::Add, filter).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.change(Change::Remove, filter).await
    }
}

impl Wanted {
    async fn change(&self, change: Change, filter: Filter) -> Result<()> {
        let limit = self.transport.config.connect_timeout;
        timeout(limit, self.until_told(change, &filter)).await.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Disconnected, "the broker could not be told in time");
            Err(error.with("filter", &filter))
        })
    }

    /// Tries again while the connection is lost, or the queue is not there again yet.
    async fn until_told(&self, change: Change, filter: &Filter) -> Result<()> {
        loop {
            self.transport.check_open()?;
            if self.events.is_left.load(Ordering::Acquire) {
                return Err(Error::new(ErrorKind::Closed, "the subscriber is closed").unsent());
            }
            match self.transport.consuming.unless_lost(self.tell(change, filter)).await {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Config) =>
                {
                    tracing::debug!(?error, "cannot change the filters yet");
                }
                outcome => return outcome,
            }
            pause(PAUSE_MIN).await;
        }
    }

    async fn tell(&self, change: Change, filter: &Filter) -> Result<()> {
        let mut filters = self.events.filters.lock().await;
        let session = &self.transport.consuming;
        match change {
            Change::Add => {
                self.events.bind(&session.channel().await?, filter).await?;
                if !filters.contains(filter) {
                    filters.push(filter.clone());
                }
                Ok(())
            }
            Change::Remove => {
                // First here: if the broker cannot be told now, it is not bound to the next channel
                // either.
                filters.retain(|other| other != filter);
                self.events.unbind(&session.channel().await?, filter).await
            }
        }
    }
}
