//! Numbered messages to consumers, counted and checked.
//!
//! A body is a number of eight bytes, big-endian, and a fill of equal bytes. The consumers of all
//! subjects compare both in the same way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::figures::{Figures, Metric};
use crate::observed::observe;
use crate::trial::Order;

/// The bytes of the number at the beginning of a body: the smallest size of a message.
pub(crate) const NUMBER: usize = 8;
/// The byte that the rest of a body consists of.
const FILL: u8 = 7;
/// The time until each consumer has its first message.
const START_MAX: Duration = Duration::from_mins(1);

/// Returns a body of this size: its number, big-endian, and a fill.
///
/// A size under [`NUMBER`] counts as that.
pub(crate) fn numbered(number: u64, size: usize) -> Bytes {
    let mut body = BytesMut::with_capacity(size.max(NUMBER));
    body.put_u64(number);
    body.resize(size.max(NUMBER), FILL);
    body.freeze()
}

/// Counts of all consumers together.
///
/// No other memory depends on the counts, so their order is relaxed.
#[derive(Default)]
pub(crate) struct Tally {
    /// Messages that arrived, those of the warm-up included.
    received: AtomicU64,
    /// Messages that a consumer did not get, though it got later ones.
    missed: AtomicU64,
    /// Consumers that have their first message.
    started: AtomicU64,
    /// Messages that were not those that were sent.
    ///
    /// A `Sequence` does not count them: its consumer fails at once.
    wrong: AtomicU64,
}

impl Tally {
    /// Counts a message of a lone consumer, without regard to its number.
    ///
    /// A body that is not one of this size fails the measurement at its end.
    ///
    /// Lost and repeated messages are not found.
    pub(crate) fn accept(&self, body: &[u8], size: usize) {
        if read(body, size).is_err() {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        if self.received.fetch_add(1, Ordering::Relaxed) == 0 {
            self.started.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The messages of one consumer, whose numbers have to rise.
///
/// A gap counts as missed messages. A number that does not rise is an error.
pub(crate) struct Sequence {
    tally: Arc<Tally>,
    /// The size of each body, in bytes.
    size: usize,
    /// The number of the next message; `None` before the first.
    next: Option<u64>,
}

impl Sequence {
    /// Creates a sequence of bodies of this size that begins with any number.
    pub(crate) fn new(tally: Arc<Tally>, size: usize) -> Self {
        Self { tally, size, next: None }
    }

    /// Counts a message, and those that are missing before it.
    ///
    /// # Errors
    ///
    /// If the body is not one of this size, or if its number does not rise.
    pub(crate) fn accept(&mut self, body: &[u8]) -> Result<()> {
        let number = read(body, self.size)?;
        match self.next {
            None => {
                self.tally.started.fetch_add(1, Ordering::Relaxed);
            }
            Some(next) => {
                ensure!(number >= next, "message {number} came after the one before {next}");
                self.tally.missed.fetch_add(number - next, Ordering::Relaxed);
            }
        }
        self.next = Some(number + 1);
        self.tally.received.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Returns the number of a body, whose size and fill are compared.
fn read(body: &[u8], size: usize) -> Result<u64> {
    let (number, fill) = body.split_first_chunk().context("the body has no number")?;
    let is_whole = body.len() == size.max(NUMBER) && fill.iter().all(|byte| *byte == FILL);
    ensure!(is_whole, "the message is not the one that was sent");
    Ok(u64::from_be_bytes(*number))
}

/// Measures the deliveries to consumers, which are tasks that end only by an error.
///
/// The warm-up begins when `count` consumers have their first message. At the end the consumers are
/// aborted.
///
/// The share of missed messages is `missed / (missed + received)`, over all consumers. Messages
/// before the first one of a consumer do not count as missed.
///
/// # Errors
///
/// If a consumer ends, or if one has no message after a minute.
pub(crate) async fn measure(
    order: &Order,
    count: u64,
    tally: &Tally,
    mut consumers: JoinSet<Result<()>>,
) -> Result<Figures> {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let measuring = async {
        let started = async {
            while load(&tally.started) < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waiting = timeout(START_MAX, started).await;
        waiting.context("not every consumer has a message in time")?;
        let mut missed_before = 0;
        let begin = || missed_before = load(&tally.missed);
        let mut figures = observe(order, begin, || load(&tally.received)).await?;
        ensure!(load(&tally.wrong) == 0, "a message is not the one that was sent");
        let missed = (load(&tally.missed) - missed_before) as f64;
        let received = figures.get(Metric::Rate).unwrap_or_default() * order.duration.as_secs_f64();
        figures.set(Metric::Missed, missed / (missed + received));
        anyhow::Ok(figures)
    };
    tokio::select! {
        figures = measuring => figures,
        Some(ended) = consumers.join_next() => {
            ended??;
            anyhow::bail!("a consumer has ended")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_messages_are_counted_and_others_are_errors() -> Result<()> {
        let tally = Arc::new(Tally::default());
        let mut sequence = Sequence::new(tally.clone(), 64);
        for number in [5, 6, 9] {
            sequence.accept(&numbered(number, 64))?;
        }
        assert_eq!(tally.received.load(Ordering::Relaxed), 3);
        assert_eq!(tally.missed.load(Ordering::Relaxed), 2);
        sequence.accept(&numbered(9, 64)).unwrap_err();
        sequence.accept(&numbered(10, 65)).unwrap_err();
        sequence.accept(b"short").unwrap_err();
        Ok(())
    }
}
