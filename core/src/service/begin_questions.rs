//! The questions of a server whether it may begin a call, until their callers answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::message::{CallId, Deadline, ReplyTo};
use crate::transport::{Answer, Question, Sender};

/// The questions of one server that have no answer yet, at most a window of them.
#[derive(Default)]
pub(crate) struct BeginQuestions {
    open: Mutex<FxHashMap<u64, OpenQuestion>>,
    /// The number of the latest delivery that was asked for.
    last: AtomicU64,
}

/// A question, and the handler that waits for its answer.
struct OpenQuestion {
    question: Question,
    answer: oneshot::Sender<bool>,
}

impl BeginQuestions {
    /// Asks a caller for the permission to begin its call. Returns `None` if the caller cannot
    /// answer, and `Some(None)` if it does not answer within [`ANSWER_MAX`] or its deadline.
    ///
    /// The question is repeated, since questions and answers may get lost.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        sender: &Sender,
        (reply_to, id): (ReplyTo, CallId),
        deadline: Option<Deadline>,
    ) -> Option<Option<bool>> {
        let delivery = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let question = Question::new(reply_to, id, delivery);
        let (answer, mut answered) = oneshot::channel();
        let open = OpenQuestion { question: question.clone(), answer };
        self.lock().insert(delivery, open);
        let _remove = RemoveOnDrop { table: self, delivery };
        let give_up = Instant::now() + ANSWER_MAX;
        let give_up = deadline.map_or(give_up, |deadline| deadline.instant().min(give_up));
        loop {
            if !sender.ask(&question) {
                return None;
            }
            let repeat = Instant::now() + REPEAT_AFTER;
            match timeout_at(repeat.min(give_up), &mut answered).await {
                // The sender is dropped after it has sent.
                Ok(answer) => return Some(answer.ok()),
                Err(_) if repeat < give_up => {}
                Err(_) => return Some(None),
            }
        }
    }

    /// Passes an answer to the handler that waits for it. An answer that comes too late, or names
    /// another call than was asked for, has no effect.
    pub(crate) fn answer(&self, Answer { question, is_permitted }: Answer) {
        let mut open = self.lock();
        if open.get(&question.delivery).is_none_or(|open| open.question != question) {
            return;
        }
        if let Some(open) = open.remove(&question.delivery) {
            // The handler may have been dropped meanwhile.
            let _ = open.answer.send(is_permitted);
        }
    }

    // No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, FxHashMap<u64, OpenQuestion>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest time that a server waits for the permission to begin a call.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The pause after which a question without an answer is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// An open question. Dropping it removes the question from the table.
struct RemoveOnDrop<'p> {
    table: &'p BeginQuestions,
    delivery: u64,
}

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        self.table.lock().remove(&self.delivery);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::transport::{Outbound, Sending};

    /// A sender that records the questions. It loses those before the number `answers_at`.
    struct Asking {
        asked: Arc<Mutex<Vec<Question>>>,
        can_answer: bool,
    }

    impl Outbound for Asking {
        fn send(&self, _: Message) -> Sending<'_> {
            Sending::ready(Ok(()))
        }

        fn ask(&self, question: &Question) -> bool {
            self.asked.lock().unwrap().push(question.clone());
            self.can_answer
        }
    }

    fn asking(can_answer: bool) -> (Sender, Arc<Mutex<Vec<Question>>>) {
        let asked = Arc::<Mutex<Vec<Question>>>::default();
        (Sender::new(Asking { asked: asked.clone(), can_answer }), asked)
    }

    fn call() -> (ReplyTo, CallId) {
        (ReplyTo::new("client"), CallId(1))
    }

    #[tokio::test(start_paused = true)]
    async fn question_is_repeated_until_the_caller_answers() {
        let (sender, asked) = asking(true);
        let table = Arc::new(BeginQuestions::default());
        let answering = async {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            let question = asked.lock().unwrap()[0].clone();
            let forged = Question { id: CallId(9), ..question.clone() };
            table.answer(Answer::new(forged, false));
            table.answer(Answer::new(question, true));
        };
        let (answer, ()) = tokio::join!(table.ask(&sender, call(), None), answering);
        assert_eq!(answer, Some(Some(true)));
        assert_eq!(asked.lock().unwrap().len(), 3);
        assert!(table.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn question_without_an_answer_ends_in_time() {
        let (sender, _) = asking(true);
        let table = Arc::new(BeginQuestions::default());
        for (deadline, waited) in [(None, ANSWER_MAX), (Some(300), Duration::from_millis(300))] {
            let start = Instant::now();
            let answer = table.ask(&sender, call(), deadline.map(Deadline::after_ms)).await;
            assert_eq!((answer, start.elapsed()), (Some(None), waited));
        }
        assert!(table.lock().is_empty());
    }

    #[tokio::test]
    async fn caller_that_cannot_answer_is_not_waited_for() {
        let (sender, _) = asking(false);
        let table = Arc::new(BeginQuestions::default());
        assert_eq!(table.ask(&sender, call(), None).await, None);
        assert!(table.lock().is_empty());
    }
}
