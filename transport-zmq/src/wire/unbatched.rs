//! Received messages, those of batches one by one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_util::StreamExt;

use super::batch::Batched;
use super::frames::Frames;

/// A stream of messages with their origin, which takes [batches](super::batch) apart. A message
/// that is no batch passes at once.
pub(crate) struct Unbatched<S, T, N> {
    /// The messages of a socket.
    messages: S,
    /// The rest of the last batch, and its origin.
    rest: Option<(T, Batched)>,
    /// Learns of each message of the socket, and whether it is a batch.
    note: N,
}

impl<S, T, N> Unbatched<S, T, N>
where
    S: Stream<Item = (T, Frames)> + Unpin,
    N: FnMut(&T, &Frames, bool),
{
    /// Wraps a stream. `note` is called with each message before it is taken apart, and whether the
    /// message is a batch.
    pub(crate) fn new(messages: S, note: N) -> Self {
        Self { messages, rest: None, note }
    }
}

impl<S, T, N> Stream for Unbatched<S, T, N>
where
    S: Stream<Item = (T, Frames)> + Unpin,
    T: Clone + Unpin,
    N: FnMut(&T, &Frames, bool) + Unpin,
{
    type Item = (T, Frames);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<(T, Frames)>> {
        let Self { messages, rest, note } = &mut *self;
        loop {
            if let Some((origin, batched)) = rest {
                if let Some(frames) = batched.next() {
                    return Poll::Ready(Some((origin.clone(), frames)));
                }
                *rest = None;
            }
            let Some((origin, frames)) = ready!(messages.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            let is_batch = Batched::is_batch(&frames);
            note(&origin, &frames, is_batch);
            if !is_batch {
                return Poll::Ready(Some((origin, frames)));
            }
            *rest = Some((origin, Batched::new(frames)));
        }
    }

    /// The lower bound counts only messages of the socket, each of which may be an empty batch, and
    /// one for the rest of a batch.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.rest.as_ref().is_some_and(|(_, batched)| batched.has_rest());
        (self.messages.size_hint().0 + usize::from(rest), None)
    }
}
