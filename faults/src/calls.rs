//! A load of calls, each with a number and a result that is known beforehand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Client};
use tokio::time::{Instant, sleep};

use crate::book::Book;

/// The service that is called.
pub(crate) const SERVICE: &str = "adding";

/// A load of calls.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) total: usize,
    /// How many are in flight at any time.
    pub(crate) callers: usize,
    pub(crate) timeout: Duration,
    /// What each caller waits between two calls.
    pub(crate) pause: Duration,
}

/// How long after its deadline a call may end, on a machine that has much else to do.
const GRACE: Duration = Duration::from_secs(20);

impl Calls {
    /// Makes all of them, or as many as are begun until the book says that it is over, and notes in
    /// the book how each ended.
    ///
    /// # Errors
    ///
    /// If a call has not ended by its deadline.
    pub(crate) async fn make(self, amqp: &Amqp, book: &Arc<Book>) -> Result<()> {
        let client = Client::connect(amqp, SERVICE, MessagePack).await.context("a client")?;
        let begun = Arc::new(AtomicUsize::new(0));
        let callers = (0..self.callers).map(|_| {
            let (client, book, begun) = (client.clone(), book.clone(), begun.clone());
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < self.total && !book.is_over() {
                    self.make_one(&client, &book).await?;
                }
                anyhow::Ok(())
            })
        });
        for caller in join_all(callers).await {
            caller??;
        }
        let stats = client.stats();
        ensure!(
            stats.in_flight == 0,
            "{} calls are in flight after the last has ended",
            stats.in_flight
        );
        book.figure("late replies", stats.late_replies);
        Ok(())
    }

    async fn make_one(self, client: &Client<MessagePack>, book: &Book) -> Result<()> {
        let start = Instant::now();
        // How it ended is in the book.
        let _ = call(client, self.timeout, book).await;
        let took = start.elapsed();
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        ensure!(
            took < self.timeout + GRACE,
            "a call with a deadline of {:?} took {took:?}",
            self.timeout
        );
        Ok(())
    }
}

/// Makes one call, and notes how it ended.
pub(crate) async fn call(
    client: &Client<MessagePack>,
    timeout: Duration,
    book: &Book,
) -> Result<i64, CallError> {
    let id = book.attempt();
    let (a, b) = (id.cast_signed(), 1_000_000);
    let outcome = client.request("add").timeout(timeout).call(&(id, a, b)).await;
    book.call(id, &outcome, &(a + b));
    outcome
}
