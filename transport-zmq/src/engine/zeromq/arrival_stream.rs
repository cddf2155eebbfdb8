//! The messages that arrive at a socket, as a stream from their queue.
//!
//! The queue, which `link_set` makes, is bounded. While the queue is full, the links read no more
//! messages, so a slow reader slows the peers down.

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::mpsc;

use super::link::{Arrival, LinkOwner};

/// The owner of links whose messages go to the queue, and that need no care.
pub(super) struct NoOwner;

impl LinkOwner for NoOwner {}

/// Returns the messages of a queue, until it ends.
///
/// The end comes after the set of links is closed and its last link has ended. Dropping the stream
/// drops the messages in the queue, and ends each link at its next message.
pub(super) fn received(arrivals: mpsc::Receiver<Arrival>) -> impl Stream<Item = Arrival> + Send {
    stream::unfold(arrivals, |mut arrivals| async {
        arrivals.recv().await.map(|arrival| (arrival, arrivals))
    })
}
