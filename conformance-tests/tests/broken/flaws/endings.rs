//! Flaws of ends: what is under way is lost, or denied, when a handle or a transport ends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use polywire_core::transport::{Delivery, Inbound, Outbound, Receiver, Sender, Sending};
use polywire_core::{Error, ErrorKind, Memory, Message, Result, Transport, Window};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::task::AbortHandle;

use crate::flaw::{Flaw, Halves};
use crate::halves::reported;

/// Acknowledges the deliveries that it has fetched and not yielded, when it is stopped or dropped.
#[derive(Clone)]
pub(crate) struct LosesWhatItFetched;

impl Flaw for LosesWhatItFetched {
    fn window(&self, _: Window) -> Window {
        Window::new(Window::MAX)
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        Receiver::new(Fetching { receiver, fetched: VecDeque::new() })
    }
}

struct Fetching {
    receiver: Receiver,
    fetched: VecDeque<Result<Delivery>>,
}

impl Fetching {
    fn lose(&mut self) {
        for delivery in self.fetched.drain(..).flatten() {
            delivery.receipt.ack();
        }
    }
}

impl Stream for Fetching {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Poll::Ready(Some(item)) = Pin::new(&mut self.receiver).poll_next(cx) {
            self.fetched.push_back(item);
        }
        match self.fetched.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None => Pin::new(&mut self.receiver).poll_next(cx),
        }
    }
}

impl Inbound for Fetching {
    fn stop(mut self: Pin<&mut Self>) {
        self.lose();
        self.receiver.stop();
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.lose();
    }
}

/// Reports success for a message in a buffer, which ends with its handle.
#[derive(Clone)]
pub(crate) struct BuffersUntilDropped;

impl Flaw for BuffersUntilDropped {
    fn calling_locally(&self, sender: Sender) -> Sender {
        Sender::new(Buffer::new(sender))
    }

    fn pushing_locally(&self, sender: Sender) -> Sender {
        Sender::new(Buffer::new(sender))
    }

    fn publishing_locally(&self, sender: Sender) -> Sender {
        Sender::new(Buffer::new(sender))
    }
}

struct Buffer {
    queue: UnboundedSender<Message>,
    writer: AbortHandle,
}

impl Buffer {
    fn new(sender: Sender) -> Self {
        let (queue, mut messages) = unbounded_channel();
        let writer = tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = sender.send(message).await;
            }
        });
        Self { queue, writer: writer.abort_handle() }
    }
}

impl Outbound for Buffer {
    fn send(&self, message: Message) -> Sending<'_> {
        self.queue.send(message).unwrap();
        Sending::ready(Ok(()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// Reports each message as unsent that it sends while a transport is being closed.
#[derive(Clone, Default)]
pub(crate) struct DeniesWhenClosing(Arc<AtomicBool>);

impl Flaw for DeniesWhenClosing {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (self.pushing(sender), receiver)
    }

    fn pushing(&self, sender: Sender) -> Sender {
        let is_closing = self.0.clone();
        reported(sender, move |sent| {
            if !is_closing.load(Ordering::SeqCst) {
                return sent;
            }
            Err(Error::new(ErrorKind::Closed, "cannot send: the transport is closed").unsent())
        })
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        self.0.store(true, Ordering::SeqCst);
        // Time for a message on each of the senders.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let closed = memory.close().await;
        self.0.store(false, Ordering::SeqCst);
        closed
    }
}

/// Reports success for a message in a queue, whose writer may have ended with its runtime.
#[derive(Clone)]
pub(crate) struct QueuesForEver;

impl Flaw for QueuesForEver {
    fn calling_locally(&self, sender: Sender) -> Sender {
        Sender::new(WrittenQueue::new(sender, false))
    }

    fn pushing_locally(&self, sender: Sender) -> Sender {
        Sender::new(WrittenQueue::new(sender, false))
    }

    fn publishing_locally(&self, sender: Sender) -> Sender {
        Sender::new(WrittenQueue::new(sender, false))
    }
}

/// Waits for the writer of its queue, which may have ended with its runtime.
#[derive(Clone)]
pub(crate) struct WaitsForEver;

impl Flaw for WaitsForEver {
    fn calling_locally(&self, sender: Sender) -> Sender {
        Sender::new(WrittenQueue::new(sender, true))
    }

    fn pushing_locally(&self, sender: Sender) -> Sender {
        Sender::new(WrittenQueue::new(sender, true))
    }

    fn publishing_locally(&self, sender: Sender) -> Sender {
        Sender::new(WrittenQueue::new(sender, true))
    }
}

/// A queue that stays open without its writer, a task.
struct WrittenQueue {
    queue: UnboundedSender<QueuedMessage>,
    _messages: Arc<Mutex<UnboundedReceiver<QueuedMessage>>>,
    waits: bool,
}

/// A message, and the slot for the result of its send.
type QueuedMessage = (Message, oneshot::Sender<Result<()>>);

impl WrittenQueue {
    fn new(sender: Sender, waits: bool) -> Self {
        let (queue, messages) = unbounded_channel::<QueuedMessage>();
        let messages = Arc::new(Mutex::new(messages));
        let written = messages.clone();
        tokio::spawn(async move {
            let mut messages = written.lock().await;
            while let Some((message, slot)) = messages.recv().await {
                let _ = slot.send(sender.send(message).await);
            }
        });
        Self { queue, _messages: messages, waits }
    }
}

impl Outbound for WrittenQueue {
    fn send(&self, message: Message) -> Sending<'_> {
        let (slot, sent) = oneshot::channel();
        self.queue.send((message, slot)).unwrap();
        if !self.waits {
            return Sending::ready(Ok(()));
        }
        Sending::later(async move { sent.await.unwrap() })
    }
}
