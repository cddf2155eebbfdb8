//! The serving end.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::{
    Address, Code, Delivery, Fault, Inbound, Message, Outbound, Outcome, Receipt, Receiver, Result, Sender,
    Sending, Settle, Window,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::error::{closed, failed, lock};
use crate::session::{PAUSE_MAX, PAUSE_MIN, jittered};
use crate::transport::Inner;
use crate::wire::{Garbled, Native, Wire};

/// Opens a serving end of `service`; it is ready when this returns.
pub(crate) async fn open(
    transport: &Arc<Inner>,
    service: &Address,
    window: Window,
) -> Result<(Sender, Receiver)> {
    let seat = Arc::new(Seat { channel: Mutex::default() });
    // The broker sends no more than a window of them.
    let (put, take) = mpsc::channel(window.messages());
    let ((stop, stopped), (tell_ready, ready)) = (oneshot::channel(), oneshot::channel());
    let queue = Native.request_queue(service)?;
    let intake = Intake { transport: transport.clone(), seat, queue, window, put };
    transport.own(tokio::spawn(intake.serve(tell_ready, stopped)).abort_handle());
    let replies = Replies { transport: transport.clone() };
    let requests = Requests { taking: Some((take, stop)) };
    ready.await.map_err(|_| closed())??;
    Ok((Sender::new(replies), Receiver::new(requests)))
}

/// The sending half.
struct Replies {
    transport: Arc<Inner>,
}

impl Outbound for Replies {
    fn send(&self, message: Message) -> Sending<'_> {
        let Inner { config, publisher, .. } = &*self.transport;
        let publishing = self.transport.check(&message);
        match publishing.and_then(|()| Native.encode_reply(message, config.persistent)) {
            Ok(publishing) => publisher.publish(publishing, None),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

/// The receiving half.
struct Requests {
    taking: Option<(Taking, oneshot::Sender<Taking>)>,
}

type Taking = mpsc::Receiver<Result<Delivery>>;

impl Stream for Requests {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.taking {
            Some((take, _)) => take.poll_recv(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Inbound for Requests {
    fn stop(mut self: Pin<&mut Self>) {
        if let Some((take, stop)) = self.taking.take() {
            // Handed back after the consumer is cancelled, since else the broker would send it here again.
            drop(stop.send(take));
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

/// Where the receipts of a responder go: its channel, which they keep open.
struct Seat {
    channel: Mutex<Option<(u64, Arc<Channel>)>>,
}

impl Seat {
    /// Takes a new channel; what came over the last one is the broker's again, and can be settled no more.
    fn renew(&self, channel: Arc<Channel>) -> u64 {
        let mut current = lock(&self.channel);
        let generation = current.as_ref().map_or(0, |(generation, _)| generation + 1);
        *current = Some((generation, channel));
        generation
    }
}

/// The bits of a receipt's tag that are the broker's; those above are the channel's generation.
const TAG_BITS: u32 = 44;

impl Settle for Seat {
    fn settle(&self, tag: u64, outcome: Outcome) {
        let (generation, tag) = (tag >> TAG_BITS, tag & ((1 << TAG_BITS) - 1));
        let current = lock(&self.channel);
        let Some((_, channel)) = current.as_ref().filter(|(current, _)| *current == generation) else {
            return;
        };
        match outcome {
            Outcome::Ack => acknowledge(channel, tag, false),
            Outcome::Discard => queue(channel.basic_reject(tag, BasicRejectOptions { requeue: false })),
            _ => queue(
                channel.basic_nack(tag, BasicNackOptions { requeue: true, ..BasicNackOptions::default() }),
            ),
        }
    }
}

/// Acknowledges a delivery, or all up to it.
pub(crate) fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    queue(channel.basic_ack(tag, BasicAckOptions { multiple }));
}

/// Queues a frame, which the first poll does; what is left to wait for is that it was written. If it cannot be, the
/// channel is lost, and the broker requeues by itself.
fn queue(sending: impl Future<Output = lapin::Result<()>>) {
    let sending = std::pin::pin!(sending);
    let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
}

/// Takes in the requests of one responder.
struct Intake {
    transport: Arc<Inner>,
    seat: Arc<Seat>,
    queue: ShortString,
    window: Window,
    put: mpsc::Sender<Result<Delivery>>,
}

impl Intake {
    /// Takes in requests until it is stopped; tells when it does so for the first time, or why it cannot.
    async fn serve(self, ready: oneshot::Sender<Result<()>>, mut stopped: oneshot::Receiver<Taking>) {
        let mut ready = Some(ready);
        let mut pause = PAUSE_MIN;
        loop {
            match self.consume().await {
                Ok((channel, requests)) => {
                    pause = PAUSE_MIN;
                    if let Some(ready) = ready.take() {
                        // Whoever was binding may have given up, and dropped the other half with it.
                        let _ = ready.send(Ok(()));
                    }
                    let generation = self.seat.renew(channel.clone());
                    if self.take_in(&channel, generation, requests, &mut stopped).await {
                        return;
                    }
                    tracing::debug!(queue = %self.queue, "no more requests on this channel");
                }
                Err(error) => match ready.take() {
                    Some(ready) => return ready.send(Err(error)).unwrap_or_default(),
                    None => tracing::debug!(?error, "cannot take in requests yet"),
                },
            }
            self.transport.consuming.suspect();
            tokio::select! {
                () = sleep(jittered(pause)) => pause = (pause * 2).min(PAUSE_MAX),
                _ = &mut stopped => return,
            }
        }
    }

    async fn consume(&self) -> Result<(Arc<Channel>, Consumer)> {
        let channel = self.transport.consuming.channel().await?;
        let cannot = |error| failed("cannot consume the service's queue", error).with("queue", &self.queue);
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.queue.clone(), durable, FieldTable::default()).await.map_err(cannot)?;
        let window = u16::try_from(self.window.messages()).unwrap_or(u16::MAX);
        channel.basic_qos(window, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(self.queue.clone(), "".into(), options, arguments).await;
        Ok((Arc::new(channel), consumer.map_err(cannot)?))
    }

    /// Passes requests on, until the channel is lost, the broker cancels, or it is stopped: then `true`.
    async fn take_in(
        &self,
        channel: &Arc<Channel>,
        generation: u64,
        mut requests: Consumer,
        stopped: &mut oneshot::Receiver<Taking>,
    ) -> bool {
        loop {
            tokio::select! {
                biased;
                taking = &mut *stopped => {
                    self.hand_back(channel, generation, requests).await;
                    // Dropping its receipts requeues what it holds.
                    drop(taking);
                    return true;
                }
                next = requests.next() => match next {
                    Some(Ok(raw)) => self.pass_on(generation, raw).await,
                    // The stream must not be polled after its end.
                    _ => return false,
                },
            }
        }
    }

    /// Cancels, and requeues what was on its way here.
    async fn hand_back(&self, channel: &Channel, generation: u64, mut requests: Consumer) {
        let cancelled = channel.basic_cancel(requests.tag(), BasicCancelOptions::default()).await;
        if cancelled.is_err() {
            // The channel is lost, and what came over it requeued.
            return;
        }
        while let Some(Ok(raw)) = requests.next().await {
            drop(self.receipt(generation, &raw));
        }
    }

    async fn pass_on(&self, generation: u64, raw: Raw) {
        let (receipt, attempt) = (self.receipt(generation, &raw), 1 + u32::from(raw.redelivered));
        let item = match Native.decode_request(raw, &self.transport.config.limits) {
            Ok(message) => Ok(Delivery::new(message, receipt).attempt(attempt)),
            Err(garbled) => unreadable(*garbled, receipt),
        };
        // A responder that is gone drops its end, and the receipt with it.
        let _ = self.put.send(item).await;
    }

    fn receipt(&self, generation: u64, raw: &Raw) -> Receipt {
        Receipt::new(self.seat.clone(), (generation << TAG_BITS) | raw.delivery_tag)
    }
}

/// What a server gets of a request that cannot be read: a delivery to be answered with a fault, if it can be answered.
fn unreadable(garbled: Garbled, receipt: Receipt) -> Result<Delivery> {
    let Garbled { mut message, error, .. } = garbled;
    if message.reply_to.is_none() {
        receipt.discard();
        return Err(error);
    }
    message.fault =
        Some(Box::new(Fault::new(Code::InvalidArguments, format!("the request cannot be read: {error}"))));
    Ok(Delivery::new(message, receipt))
}
