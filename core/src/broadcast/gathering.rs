//! Gathering: the outcomes of one broadcast.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep_until};

use super::broadcaster::BroadcasterShared;
use super::gather_options::GatherOptions;
use super::gather_progress::{Arrived, GatherProgress};
use super::instance_outcome::{Gathered, InstanceOutcome};
use crate::dialect::Dialect;
use crate::error::{Code, Error};
use crate::message::Instance;

/// Stream of the outcomes of one broadcast, in the order of their arrival: at most one of each
/// instance. Made by [`BroadcastBuilder::gather`](super::BroadcastBuilder::gather).
///
/// The stream always ends, at the latest by its timeout, and [`end`](Self::end) says why. Outcomes
/// that have arrived by then are yielded first. When it ends before all instances have replied, or
/// is dropped, the call is cancelled at the others. So it is at instances that were not waited for,
/// if the caller [named](super::BroadcastBuilder::expect) the set, or no instance was there.
#[must_use = "outcomes are lost unless the stream is read"]
pub struct Gathering<T, D> {
    shared: Arc<BroadcasterShared>,
    dialect: D,
    call: u64,
    options: GatherOptions,
    outcomes: usize,
    replies: usize,
    /// The end of the gap, while the reader waits for an outcome that is not the first.
    gap_ends: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    end: Option<GatherEnd>,
    result: PhantomData<fn() -> T>,
}

/// End of a gathering.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GatherEnd {
    /// The reason of the end.
    pub reason: GatherReason,
    /// The instances that were waited for and have no outcome, in the order of their names and
    /// ids. One that the caller [named](super::BroadcastBuilder::expect), and that was not there,
    /// has its id as its name, and no more.
    pub silent: Vec<Instance>,
}

/// Reason for the end of a gathering.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum GatherReason {
    /// Each instance that was waited for has an outcome.
    Complete,
    /// The [number of outcomes](super::BroadcastBuilder::count) is reached.
    Count,
    /// The [number of replies](super::BroadcastBuilder::quorum) is reached.
    Quorum,
    /// No outcome arrived within the [gap](super::BroadcastBuilder::gap).
    Stalled,
    /// The [timeout](super::BroadcastBuilder::timeout) has passed.
    Deadline,
    /// No instance was there, and none answered.
    NobodyThere,
    /// The broadcaster can receive no more outcomes, for this reason.
    Closed(Error),
}

/// Compares without the error of [`Closed`](Self::Closed).
impl PartialEq for GatherReason {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl<T, D> Gathering<T, D> {
    pub(super) fn new(
        shared: Arc<BroadcasterShared>,
        dialect: D,
        call: u64,
        options: GatherOptions,
    ) -> Self {
        Self {
            shared,
            dialect,
            call,
            options,
            outcomes: 0,
            replies: 0,
            gap_ends: None,
            timer: None,
            end: None,
            result: PhantomData,
        }
    }

    /// Returns the end of the gathering, once the stream has ended.
    #[must_use]
    pub fn end(&self) -> Option<&GatherEnd> {
        self.end.as_ref()
    }

    /// Ends the gathering. The instances without an outcome stop, unless they know that the
    /// deadline has passed.
    fn finish(&mut self, reason: GatherReason) {
        let progress = self.shared.state.end(self.call);
        let silent = progress.map(GatherProgress::into_silent).unwrap_or_default();
        // Instances without a waiting caller may run the call as well.
        let has_others = self.options.is_set_named || reason == GatherReason::NobodyThere;
        if (has_others || !silent.is_empty()) && reason != GatherReason::Deadline {
            self.shared.cancel(self.call);
        }
        self.end = Some(GatherEnd { reason, silent });
    }

    /// Returns the reason for an end that the outcomes so far make.
    fn reached(&self) -> Option<GatherReason> {
        let GatherOptions { count, quorum, .. } = self.options;
        if quorum.is_some_and(|quorum| self.replies >= quorum) {
            return Some(GatherReason::Quorum);
        }
        count.is_some_and(|count| self.outcomes >= count).then_some(GatherReason::Count)
    }

    /// Polls for the next outcome as it has arrived, or for the reason of the end.
    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arrived, GatherReason>> {
        if let Some(reason) = self.reached() {
            return Poll::Ready(Err(reason));
        }
        let polled = self.shared.state.with(self.call, |progress, closed| {
            if let Some(arrived) = progress.take() {
                return Poll::Ready(Ok(arrived));
            }
            if progress.is_complete() {
                let is_nobody_there = progress.is_untouched();
                let complete = GatherReason::Complete;
                let reason = if is_nobody_there { GatherReason::NobodyThere } else { complete };
                return Poll::Ready(Err(reason));
            }
            if let Some(error) = closed {
                return Poll::Ready(Err(GatherReason::Closed(error.clone())));
            }
            progress.waker = Some(cx.waker().clone());
            Poll::Pending
        });
        if let Poll::Ready(arrived) = polled.unwrap_or(Poll::Ready(Err(GatherReason::Complete))) {
            self.gap_ends = None;
            return Poll::Ready(arrived);
        }
        self.poll_timer(cx).map(Err)
    }

    /// Polls for the end of the time: that of the gap, or that of the gathering.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<GatherReason> {
        if let (Some(gap), None, 1..) = (self.options.gap, self.gap_ends, self.outcomes) {
            self.gap_ends = Instant::now().checked_add(gap);
        }
        let deadline = self.options.deadline.instant();
        let (ends, reason) = match self.gap_ends {
            Some(gap_ends) if gap_ends < deadline => (gap_ends, GatherReason::Stalled),
            _ => (deadline, GatherReason::Deadline),
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        if timer.deadline() != ends {
            timer.as_mut().reset(ends);
        }
        timer.as_mut().poll(cx).map(|()| reason)
    }
}

impl<T: DeserializeOwned, D: Dialect> Gathering<T, D> {
    /// Waits for the next outcome; `None` when the gathering has [ended](Self::end).
    ///
    /// If the future is dropped, no outcome is lost.
    pub async fn next(&mut self) -> Option<Gathered<T>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Waits for the end of the gathering, and returns the outcomes that were not yielded before.
    ///
    /// If the future is dropped, the call is cancelled, and the outcomes are lost.
    pub async fn all(mut self) -> (Vec<Gathered<T>>, GatherEnd) {
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        let end = self.end.clone();
        let none = GatherEnd { reason: GatherReason::Complete, silent: Vec::new() };
        (outcomes, end.unwrap_or(none))
    }

    fn decode(&self, Arrived { instance, reply }: Arrived) -> Gathered<T> {
        let outcome = match reply.map(|mut reply| self.dialect.decode_outcome(&mut reply)) {
            None => InstanceOutcome::Gone,
            Some(Ok(Ok(result))) => InstanceOutcome::Reply(result),
            Some(Ok(Err(fault))) if fault.code == Code::Declined => {
                InstanceOutcome::Declined(fault)
            }
            Some(Ok(Err(fault))) => InstanceOutcome::Fault(fault),
            Some(Err(error)) => InstanceOutcome::Unreadable(error),
        };
        Gathered { instance, outcome }
    }
}

// Nothing of the stream is pinned.
impl<T, D> Unpin for Gathering<T, D> {}

impl<T: DeserializeOwned, D: Dialect> Stream for Gathering<T, D> {
    type Item = Gathered<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Gathered<T>>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.poll_arrived(cx)) {
            Ok(arrived) => {
                let gathered = self.decode(arrived);
                self.outcomes += 1;
                self.replies += usize::from(gathered.outcome.is_reply());
                Poll::Ready(Some(gathered))
            }
            Err(reason) => {
                self.finish(reason);
                Poll::Ready(None)
            }
        }
    }
}

impl<T, D> Drop for Gathering<T, D> {
    fn drop(&mut self) {
        if self.end.is_none() && self.shared.state.end(self.call).is_some() {
            self.shared.cancel(self.call);
        }
    }
}

impl<T, D> fmt::Debug for Gathering<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gathering")
            .field("outcomes", &self.outcomes)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
