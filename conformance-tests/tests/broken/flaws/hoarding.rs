//! Flaws of receiving ahead: buffers beside the window, with and without a bound.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{Delivery, Filters, Inbound, Receiver, Subscription};
use polywire_core::{Capabilities, Result, Window};
use tokio::sync::mpsc::{self, channel};

use crate::flaw::{Flaw, Sound};

/// Reads all that arrives for a puller into a buffer beside its window.
#[derive(Clone)]
pub(crate) struct Hoards;

impl Flaw for Hoards {
    fn window(&self, _: Window) -> Window {
        Window::new(Window::MAX)
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        read_ahead(receiver, 65_536)
    }
}

/// As [`Hoards`], without settlement.
#[derive(Clone)]
pub(crate) struct HoardsUnsettled;

impl Flaw for HoardsUnsettled {
    fn capabilities(&self) -> Capabilities {
        Sound.capabilities().with_settlement(false)
    }

    fn window(&self, window: Window) -> Window {
        Hoards.window(window)
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        read_ahead(receiver, 65_536)
    }
}

/// Buffers 4,096 events for a subscriber that does not read, and drops more than that.
#[derive(Clone)]
pub(crate) struct DropsForSlowReaders;

impl Flaw for DropsForSlowReaders {
    fn subscription(&self, subscription: Subscription) -> Subscription {
        subscription.window(Window::new(Window::MAX))
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (read_ahead(receiver, 4_096), filters)
    }
}

/// A receiving half whose deliveries are read at once, by a task. What the buffer has no room for
/// is acknowledged and dropped.
fn read_ahead(mut receiver: Receiver, capacity: usize) -> Receiver {
    let (buffer, buffered) = channel(capacity);
    tokio::spawn(async move {
        while let Some(item) = receiver.next().await {
            if let Err(mpsc::error::TrySendError::Full(Ok(delivery))) = buffer.try_send(item) {
                delivery.receipt.ack();
            }
        }
    });
    Receiver::new(Ahead(buffered))
}

struct Ahead(mpsc::Receiver<Result<Delivery>>);

impl Stream for Ahead {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

impl Inbound for Ahead {
    fn stop(mut self: Pin<&mut Self>) {
        self.0.close();
    }
}
