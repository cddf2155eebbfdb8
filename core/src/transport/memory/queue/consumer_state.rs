//! The state of a consumer in its queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use super::unsettled::Unsettled;
use crate::transport::{Abandoned, Answer};

/// State of a consumer, under the lock of its queue.
pub(super) struct ConsumerState {
    /// Set until the consumer stops.
    pub(super) active: bool,
    pub(super) window: usize,
    pub(super) unsettled: Unsettled,
    /// Abandoned calls, at most [`ABANDONED_MAX`], that the consumer may have begun.
    abandoned: VecDeque<Abandoned>,
    /// Answers of callers that the consumer has asked, one for each question.
    answers: VecDeque<Answer>,
    /// The waker of the consumer. It is kept when it was woken.
    waker: Option<Waker>,
    /// Set if the waker was woken for an entry, and the consumer has not looked since.
    is_woken: bool,
    pub(super) signals: Arc<ConsumerSignals>,
}

/// State of a consumer that its stream reads without the lock. It changes under the lock.
#[derive(Default)]
pub(in super::super) struct ConsumerSignals {
    /// Set if there may be an abandoned call or an answer.
    has_notices: AtomicBool,
}

/// Abandoned calls of a consumer that it has not taken yet. Beyond, the oldest are dropped.
const ABANDONED_MAX: usize = 1024;

impl ConsumerSignals {
    /// Returns whether there may be an abandoned call or an answer. Its arrival has woken the waker
    /// that was registered last.
    pub(in super::super) fn has_notices(&self) -> bool {
        self.has_notices.load(Ordering::Acquire)
    }
}

impl ConsumerState {
    /// Creates the state of a consumer that holds at most `window` entries unsettled.
    pub(super) fn new(window: usize) -> Self {
        Self {
            active: true,
            window,
            unsettled: Unsettled::default(),
            abandoned: VecDeque::new(),
            answers: VecDeque::new(),
            waker: None,
            is_woken: false,
            signals: Arc::default(),
        }
    }

    /// Adds an abandoned call, and wakes the consumer.
    pub(super) fn add_abandoned(&mut self, call: Abandoned) {
        if self.abandoned.len() >= ABANDONED_MAX {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(call);
        self.notify();
    }

    /// Adds the answer of a caller, and wakes the consumer.
    pub(super) fn add_answer(&mut self, answer: Answer) {
        self.answers.push_back(answer);
        self.notify();
    }

    /// Polls for an abandoned call, or registers the waker.
    pub(super) fn poll_abandoned(&mut self, cx: &Context<'_>) -> Poll<Abandoned> {
        let call = self.abandoned.pop_front();
        self.noticed(cx);
        call.map_or(Poll::Pending, Poll::Ready)
    }

    /// Polls for an answer, or registers the waker.
    pub(super) fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<Answer> {
        let answer = self.answers.pop_front();
        self.noticed(cx);
        answer.map_or(Poll::Pending, Poll::Ready)
    }

    fn notify(&mut self) {
        self.signals.has_notices.store(true, Ordering::Release);
        // Also if it was woken before, for it may have looked for notices since.
        self.is_woken = false;
        self.wake();
    }

    fn noticed(&mut self, cx: &Context<'_>) {
        let has_notices = !(self.abandoned.is_empty() && self.answers.is_empty());
        self.signals.has_notices.store(has_notices, Ordering::Release);
        self.register(cx);
    }

    /// Registers the waker, unless the same one is registered already.
    pub(super) fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        self.is_woken = false;
    }

    /// Wakes the consumer if the entry that it has settled has filled its window.
    pub(super) fn wake_if_it_was_full(&mut self) {
        if self.unsettled.len() + 1 >= self.window {
            // A consumer without room may have waited without a look at the entries.
            self.is_woken = false;
            self.wake();
        }
    }

    /// Wakes the consumer, unless it was woken before and has not looked since.
    pub(super) fn wake(&mut self) {
        if !self.is_woken
            && let Some(waker) = &self.waker
        {
            self.is_woken = true;
            waker.wake_by_ref();
        }
    }
}
