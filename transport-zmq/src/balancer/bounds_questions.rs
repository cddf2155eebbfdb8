//! The questions for the bounds of a peer that it has not answered. No I/O.
//!
//! A connection begins with the [question](crate::wire::bound_question) for the bounds of the
//! server, and may end with the same question: its answer proves that the server has read all
//! messages before it. Answers carry no number, so they are counted.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// The number of open questions to one peer, and whether a last one is of use.
pub(super) struct BoundsQuestions {
    /// Questions without an answer, on this connection.
    open: watch::Sender<usize>,
    /// Set with the first message that gets no reply, which alone would show that it was read.
    has_sent_one_way: AtomicBool,
}

impl BoundsQuestions {
    /// Returns the state of a peer that is not connected.
    pub(super) fn new() -> Self {
        Self { open: watch::Sender::new(0), has_sent_one_way: AtomicBool::new(false) }
    }

    /// Notes a message that gets no reply.
    pub(super) fn note_one_way(&self) {
        // Read first: a write per message would take the cache line from other cores.
        if !self.has_sent_one_way() {
            self.has_sent_one_way.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether a message was sent that gets no reply.
    pub(super) fn has_sent_one_way(&self) -> bool {
        self.has_sent_one_way.load(Ordering::Relaxed)
    }

    /// Notes a question.
    pub(super) fn ask(&self) {
        self.open.send_modify(|open| *open += 1);
    }

    /// Notes an answer, or that a question could not be sent.
    pub(super) fn answer(&self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    /// Forgets all questions, since their connection is lost.
    pub(super) fn clear(&self) {
        self.open.send_replace(0);
    }

    /// Waits until all questions are answered, or their connection is lost. The future may be
    /// dropped.
    pub(super) async fn answered(&self) {
        // Never an error: `self` holds the sender.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_question_needs_an_answer() {
        let questions = BoundsQuestions::new();
        questions.answer();
        questions.ask();
        questions.ask();
        questions.answer();
        assert!(questions.answered().now_or_never().is_none());
        questions.answer();
        assert!(questions.answered().now_or_never().is_some());
        questions.ask();
        questions.clear();
        assert!(questions.answered().now_or_never().is_some(), "the connection is lost");
    }
}
