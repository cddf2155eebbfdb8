//! What all ends have in common that take something in: a queue, a channel that comes back, and a
//! window.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use polywire_core::transport::{Abandoned, Delivery, Inbound, Outcome, Receipt, Receiver, Settle};
use polywire_core::{Address, Error, ErrorKind, Limits, Message, Result, Window};
use tokio::sync::{mpsc, oneshot};

use crate::QueueKind;
use crate::backoff::Backoff;
use crate::error::{closed, failed};
use crate::opening::Opening;
use crate::returns::Returns;
use crate::seat::Seat;
use crate::topology::Queue;
use crate::transport::Inner;
use crate::wire::{Again, Native, Wire};

/// What is particular to an end that takes something in.
pub(crate) trait Source: Send + Sync + 'static {
    /// The queue.
    fn queue(&self) -> &Queue;

    /// Sees to what feeds the queue, which is there; and new, as far as is known, if it `is_new`.
    fn feed(&self, channel: &Channel, is_new: bool) -> impl Future<Output = Result<()>> + Send;

    /// Reads what arrived, and takes its body. What cannot be read is discarded, and its reader
    /// told.
    fn read(&self, raw: &mut Raw, limits: &Limits) -> Result<Message>;

    /// How its reader gives something back.
    fn giving_back(&self) -> GivingBack;

    /// Whether its reader has to know when the queue was lost, with all that would have come.
    const TELLS_OF_LOSS: bool;

    /// Cleans up when nobody reads any more.
    fn leave(&self, transport: &Inner) -> impl Future<Output = ()> + Send;
}

/// How something is given back to its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivingBack {
    /// By the broker's own means, and nothing else ever happens to it.
    Broker,
    /// By the broker's own means; but it may be declined, or be put among the dead letters.
    BrokerOrDeclined,
    /// By the broker's own means, which counts; but it may be made to wait, or be put among the
    /// dead letters.
    BrokerCounts,
    /// By publishing it again, with a count.
    Counted,
}

impl GivingBack {
    /// Whether each delivery of a queue of this kind says which attempt it is.
    fn counts(self, kind: QueueKind) -> bool {
        match self {
            Self::Broker | Self::BrokerOrDeclined => kind == QueueKind::Quorum,
            Self::BrokerCounts | Self::Counted => true,
        }
    }

    /// Whether a delivery may have to be published again, so that all of it has to be kept.
    fn keeps(self) -> bool {
        self != Self::Broker
    }

    /// Whether what cannot be read is kept.
    fn buries_unreadable(self) -> bool {
        matches!(self, Self::BrokerCounts | Self::Counted)
    }
}

/// Opens the receiving half of an end; it works when this returns.
pub(crate) async fn open<S: Source>(
    transport: &Arc<Inner>,
    source: Arc<S>,
    window: Window,
) -> Result<Receiver> {
    open_with(transport, source, window, None).await
}

/// The same, of an end whose callers may stop waiting.
pub(crate) async fn open_with<S: Source>(
    transport: &Arc<Inner>,
    source: Arc<S>,
    window: Window,
    abandoned: Option<mpsc::Receiver<Abandoned>>,
) -> Result<Receiver> {
    let seat = Arc::new(Seat::default());
    // The broker sends no more than a window of them.
    let (put, take) = mpsc::channel(window.messages());
    let ((stop, stopped), (tell_ready, ready)) = (oneshot::channel(), oneshot::channel());
    let returns =
        Returns::new(transport.clone(), seat.clone(), source.queue().clone(), source.giving_back());
    let (taking, seat_of_receipts) = (Some((take, stop)), seat.clone());
    let counts_attempts = source.giving_back().counts(source.queue().options.queue_kind());
    let deliveries = Deliveries {
        transport: transport.clone(),
        taking,
        seat: seat_of_receipts,
        returns: returns.clone(),
        counts_attempts,
        abandoned,
    };
    let intake = Intake { transport: transport.clone(), source, seat, returns, window, put };
    transport.own(tokio::spawn(intake.serve(tell_ready, stopped)).abort_handle());
    ready.await.map_err(|_| closed())??;
    Ok(Receiver::new(deliveries))
}

/// The receiving half.
struct Deliveries {
    transport: Arc<Inner>,
    taking: Option<(Taking, oneshot::Sender<Taking>)>,
    seat: Arc<Seat>,
    returns: Arc<Returns>,
    counts_attempts: bool,
    /// Of what was handed out.
    abandoned: Option<mpsc::Receiver<Abandoned>>,
}

type Taking = mpsc::Receiver<Result<Taken>>;

/// What was taken from the broker and not handed out yet.
pub(crate) struct Taken {
    message: Message,
    pub(crate) tag: u64,
    pub(crate) attempt: u32,
    /// As it came, if it may have to be published again.
    pub(crate) properties: Option<Box<BasicProperties>>,
}

impl Taken {
    /// What has to be known to publish it again, if it may have to be; taken out of it.
    pub(crate) fn take_again(&mut self) -> Option<Again> {
        let properties = *self.properties.take()?;
        let Self { message, attempt, .. } = self;
        let (topic, body) = (message.topic.clone(), message.body.clone().into_bytes());
        let (history, deadline) = (message.history.clone(), message.deadline);
        Some(Again { history, deadline, ..Again::new(properties, topic, body, *attempt) })
    }

    /// The same, and leaves it as it is.
    pub(crate) fn again(&mut self) -> Option<Again> {
        let again = self.take_again()?;
        self.properties = Some(Box::new(again.properties.clone()));
        Some(again)
    }
}

impl Deliveries {
    fn hand_out(&self, mut taken: Taken) -> Delivery {
        let settle: Arc<dyn Settle> = match taken.take_again() {
            Some(again) => self.returns.of(again),
            None => self.seat.clone(),
        };
        let Taken { message, tag, attempt, .. } = taken;
        Delivery::new(message, Receipt::new(settle, tag)).attempt(attempt)
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { transport, taking: Some((take, _)), seat, .. } = &mut *self else {
            return Poll::Ready(None);
        };
        // The broker has what was not handed out by then, and gives it to somebody else.
        if transport.is_closed() {
            return Poll::Ready(None);
        }
        let next = loop {
            match ready!(take.poll_recv(cx)) {
                // Handed out twice, it would be worked on twice.
                Some(Ok(taken)) if seat.comes_again(taken.tag) => {}
                next => break next,
            }
        };
        Poll::Ready(next.map(|taken| taken.map(|taken| self.hand_out(taken))))
    }
}

impl Inbound for Deliveries {
    fn stop(mut self: Pin<&mut Self>) {
        if let Some((take, stop)) = self.taking.take() {
            // Handed back after the consumer is cancelled, since else the broker would send it here
            // again.
            drop(stop.send(take));
        }
    }

    fn counts_attempts(&self) -> bool {
        self.counts_attempts
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let Some(abandoned) = &mut self.abandoned else { return Poll::Pending };
        match ready!(abandoned.poll_recv(cx)) {
            Some(call) => Poll::Ready(call),
            // The transport is closed.
            None => {
                self.abandoned = None;
                Poll::Pending
            }
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

/// Takes in what comes for one end.
struct Intake<S> {
    transport: Arc<Inner>,
    source: Arc<S>,
    seat: Arc<Seat>,
    returns: Arc<Returns>,
    window: Window,
    put: mpsc::Sender<Result<Taken>>,
}

/// What comes over one channel.
struct Flow {
    channel: Arc<Channel>,
    generation: u64,
    consumer: lapin::Consumer,
}

/// Why a flow ends.
enum End {
    /// Nobody wants more; what was not handed out is in there.
    Stopped(Option<Taking>),
    /// The channel is lost, or the broker cancelled.
    Lost,
}

impl<S: Source> Intake<S> {
    /// Takes in until it is stopped; tells when it does so for the first time, or why it cannot.
    async fn serve(
        self,
        ready: oneshot::Sender<Result<()>>,
        mut stopped: oneshot::Receiver<Taking>,
    ) {
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        let mut missed = false;
        let session = &self.transport.consuming;
        loop {
            let consumed = tokio::select! {
                biased;
                // There may be no connection for as long as it takes.
                _ = &mut stopped => return self.source.leave(&self.transport).await,
                consumed = session.unless_lost(self.consume(&mut missed, ready.is_none())) => consumed,
            };
            match consumed {
                Ok(mut flow) => {
                    backoff.reset();
                    if let Some(ready) = ready.take() {
                        // Whoever was opening may have given up, and dropped the other half with
                        // it.
                        let _ = ready.send(Ok(()));
                    }
                    if let End::Stopped(taking) =
                        self.take_in(&mut flow, &mut missed, &mut stopped).await
                    {
                        self.hand_back(flow, taking).await;
                        return self.source.leave(&self.transport).await;
                    }
                    tracing::debug!(queue = %self.source.queue().name, "nothing more on this channel");
                }
                Err(error) => match ready.take() {
                    Some(ready) => {
                        // Whoever was opening may have given up.
                        let _ = ready.send(Err(error));
                        return self.source.leave(&self.transport).await;
                    }
                    // Whoever reads is to know why nothing comes any more.
                    None if let Some(refusal) = self.transport.consuming.refusal() => {
                        self.pass_on(Err(refusal), &mut stopped).await;
                        return self.source.leave(&self.transport).await;
                    }
                    None if error.is_transient() => tracing::debug!(?error, "cannot take in yet"),
                    None => tracing::error!(?error, "cannot take in; trying again all the same"),
                },
            }
            self.transport.consuming.suspect();
            tokio::select! {
                () = backoff.wait() => {}
                _ = &mut stopped => return self.source.leave(&self.transport).await,
            }
        }
    }

    /// Consumes on a new channel. Notes if the queue was lost in between.
    async fn consume(&self, missed: &mut bool, again: bool) -> Result<Flow> {
        let (queue, session) = (self.source.queue(), &self.transport.consuming);
        *missed |= again && S::TELLS_OF_LOSS && !queue.is_there(session).await?;
        let opening = Opening::new(session.channel().await?);
        let channel = opening.channel();
        queue.declare(channel).await?;
        self.source.feed(channel, !again || *missed).await?;
        let cannot = |error| failed("cannot consume the queue", error).with("queue", &queue.name);
        let window = u16::try_from(self.window.messages()).unwrap_or(u16::MAX);
        channel.basic_qos(window, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer =
            channel.basic_consume(queue.name.clone(), "".into(), options, arguments).await;
        let consumer = consumer.map_err(cannot)?;
        let channel = Arc::new(opening.done());
        let generation = self.seat.renew(channel.clone());
        Ok(Flow { channel, generation, consumer })
    }

    /// Passes on what comes.
    async fn take_in(
        &self,
        flow: &mut Flow,
        missed: &mut bool,
        stopped: &mut oneshot::Receiver<Taking>,
    ) -> End {
        if *missed {
            let error = Error::new(ErrorKind::Disconnected, "events may have been missed");
            let error = error.with("queue", &self.source.queue().name);
            if let Some(end) = self.pass_on(Err(error), stopped).await {
                return end;
            }
            *missed = false;
        }
        loop {
            let next = tokio::select! {
                biased;
                taking = &mut *stopped => return End::Stopped(taking.ok()),
                next = flow.consumer.next() => next,
            };
            // The stream must not be polled after its end.
            let Some(Ok(raw)) = next else {
                if !flow.channel.status().connected() {
                    self.seat.lost(flow.generation);
                }
                return End::Lost;
            };
            let came_uncounted =
                raw.redelivered && self.source.giving_back() == GivingBack::Counted;
            let item = match self.read(flow.generation, raw) {
                Ok(taken) if self.returns.is_declined(&taken) => {
                    self.returns.pass_on(taken);
                    continue;
                }
                Ok(taken) if came_uncounted => {
                    self.returns.write_down(taken, self.put.clone());
                    continue;
                }
                item => item,
            };
            if let Some(end) = self.pass_on(item, stopped).await {
                return end;
            }
        }
    }

    /// Hands an item over, unless nobody wants it. There may be no room, if the last channel left
    /// something behind.
    async fn pass_on(
        &self,
        item: Result<Taken>,
        stopped: &mut oneshot::Receiver<Taking>,
    ) -> Option<End> {
        let taking = tokio::select! {
            biased;
            taking = stopped => taking.ok(),
            room = self.put.reserve() => match room {
                Ok(room) => {
                    room.send(item);
                    return None;
                }
                Err(_) => None,
            },
        };
        self.requeue(&item);
        Some(End::Stopped(taking))
    }

    fn read(&self, generation: u64, mut raw: Raw) -> Result<Taken> {
        let tag = Seat::tag(generation, raw.delivery_tag);
        let attempt = Native.attempt(&raw);
        let keeps = self.source.giving_back().keeps();
        match self.source.read(&mut raw, &self.transport.config.limits) {
            Ok(message) => {
                let properties = keeps.then(|| Box::new(raw.properties));
                Ok(Taken { message, tag, attempt, properties })
            }
            // It never will be readable.
            Err(error) if !self.source.giving_back().buries_unreadable() => {
                self.seat.settle(tag, Outcome::Discard);
                Err(error)
            }
            Err(error) => {
                let topic = Address::new(raw.routing_key.as_str())
                    .ok()
                    .filter(|_| !raw.exchange.as_str().is_empty());
                let (properties, body) = (raw.properties, raw.data.into());
                let again = Again {
                    history: None,
                    for_ever: true,
                    ..Again::new(properties, topic, body, attempt)
                };
                self.returns.bury_unreadable(tag, again, &error);
                Err(error)
            }
        }
    }

    /// Gives back what was not handed out. What cannot be read is settled already.
    fn requeue(&self, item: &Result<Taken>) {
        if let Ok(Taken { tag, .. }) = item {
            self.seat.settle(*tag, Outcome::Requeue);
        }
    }

    /// Cancels, and requeues what was on its way here.
    async fn hand_back(&self, mut flow: Flow, taking: Option<Taking>) {
        let cancelled =
            flow.channel.basic_cancel(flow.consumer.tag(), BasicCancelOptions::default()).await;
        if cancelled.is_err() {
            // The channel is lost, and what came over it requeued.
            return;
        }
        let mut taking = taking;
        while let Some(item) = taking.as_mut().and_then(|taking| taking.try_recv().ok()) {
            self.requeue(&item);
        }
        while let Some(Ok(raw)) = flow.consumer.next().await {
            self.seat.settle(Seat::tag(flow.generation, raw.delivery_tag), Outcome::Requeue);
        }
    }
}
