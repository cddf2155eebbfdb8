//! A load of jobs, each with a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_conformance::OperationOutcome;
use polywire_core::Pusher;
use tokio::time::sleep;

use crate::book::{Book, kind_of};

/// The queue that they are pushed into.
pub(crate) const QUEUE: &str = "sums";

/// A load of jobs.
#[derive(Clone, Copy)]
pub(crate) struct Jobs {
    pub(crate) total: usize,
    /// How many are pushed at any time.
    pub(crate) pushers: usize,
    /// What each waits between two jobs.
    pub(crate) pause: Duration,
}

impl Jobs {
    /// Pushes all of them, or as many as are begun until the book says that it is over. Each is
    /// pushed again until it is acknowledged.
    pub(crate) async fn push(self, amqp: &Amqp, book: &Arc<Book>) -> Result<()> {
        let pusher = Pusher::connect(amqp, QUEUE, MessagePack).await.context("a pusher")?;
        let begun = Arc::new(AtomicUsize::new(0));
        let pushers = (0..self.pushers).map(|_| {
            let (pusher, book, begun) = (pusher.clone(), book.clone(), begun.clone());
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < self.total && !book.is_over() {
                    push_until_acknowledged(&pusher, &book).await;
                    if !self.pause.is_zero() {
                        sleep(self.pause).await;
                    }
                }
            })
        });
        for pusher in join_all(pushers).await {
            pusher?;
        }
        Ok(())
    }
}

async fn push_until_acknowledged(pusher: &Pusher<MessagePack>, book: &Book) {
    let id = book.attempt();
    while let Err(error) = pusher.push(&id).await {
        book.failed(format!("pushed again after {}", kind_of(&error)));
        // What is refused at once would else be tried all the time.
        sleep(Duration::from_millis(10)).await;
    }
    book.end(id, OperationOutcome::Acknowledged);
}
