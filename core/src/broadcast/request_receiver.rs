//! The receiving half of an instance: broadcasts as requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::envelope::CallerEvent;
use super::presence::Presence;
use super::recent_calls::RecentCalls;
use super::refusals::Refusals;
use crate::error::{Error, Result};
use crate::health::EndpointReporter;
use crate::message::{CallId, ReplyTo};
use crate::transport::{Abandoned, Delivery, Inbound, LogThrottle, Receiver};

/// Receiver of the requests that are broadcast, over a subscription.
///
/// It reads cancels and queries on the way: a cancel is an abandoned call, and a query makes the
/// instance announce itself. A call that was received before is dropped: a broker may deliver an
/// event once more after a reconnect.
pub(super) struct RequestReceiver {
    receiver: Receiver,
    presence: Arc<Presence>,
    health: Option<EndpointReporter>,
    /// Requests that were read while there was no room for them: at most [`AHEAD_MAX`], and the
    /// last one exceeds [`AHEAD_BYTES_MAX`] at most.
    ahead: VecDeque<Result<Delivery>>,
    /// The size of these requests.
    ahead_bytes: usize,
    /// The sender of refusals, for requests beyond these bounds.
    refusals: Refusals,
    recent: RecentCalls,
    /// Throttle for the log line of errors that were dropped for want of room.
    dropped: LogThrottle,
    /// A cancel that was read in place of a request. Core polls for it before it reads on.
    abandoned: Option<Abandoned>,
    has_ended: bool,
}

/// The number of requests that are read beyond the window, to reach the cancels behind them.
const AHEAD_MAX: usize = 1_000;
/// The size from which no more requests are read ahead, in bytes.
const AHEAD_BYTES_MAX: usize = 16 << 20;
/// The number of events that are read ahead before other tasks have their turns.
const READS_MAX: usize = 128;

impl RequestReceiver {
    pub(super) fn new(mut receiver: Receiver, presence: Arc<Presence>, refusals: Refusals) -> Self {
        let health = receiver.health();
        Self {
            receiver,
            presence,
            health,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            refusals,
            recent: RecentCalls::new(),
            dropped: LogThrottle::new(),
            abandoned: None,
            has_ended: false,
        }
    }

    /// Reads the next event that core has to see.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            if self.has_ended {
                return Poll::Ready(Read::End);
            }
            let Some(next) = ready!(Pin::new(&mut self.receiver).poll_next(cx)) else {
                self.has_ended = true;
                continue;
            };
            let mut delivery = match next {
                Ok(delivery) => delivery,
                Err(error) => return Poll::Ready(Read::Failed(error)),
            };
            match CallerEvent::take(&mut delivery.message) {
                Ok(CallerEvent::Call { inbox, call }) => {
                    if self.recent.note((inbox, call)) {
                        return Poll::Ready(Read::Request(delivery));
                    }
                    delivery.receipt.ack();
                }
                Ok(CallerEvent::OneWay) => {
                    let id = delivery.message.message_id.as_ref();
                    if id.is_none_or(|id| self.recent.note(id.to_string())) {
                        return Poll::Ready(Read::Request(delivery));
                    }
                    delivery.receipt.ack();
                }
                Ok(CallerEvent::Cancel { inbox, call }) => {
                    let call = Abandoned::new(ReplyTo::new(inbox), CallId(call));
                    return Poll::Ready(Read::Cancel(call));
                }
                Ok(CallerEvent::Query) => self.presence.answer(),
                Err(error) => return Poll::Ready(Read::Failed(error)),
            }
        }
    }

    /// Keeps what was read while there was no room for it, or refuses it.
    fn keep(&mut self, next: Result<Delivery>) {
        let has_room = self.ahead.len() < AHEAD_MAX && self.ahead_bytes < AHEAD_BYTES_MAX;
        match next {
            Ok(request) if !has_room => self.refusals.refuse(request),
            // A fatal one is kept: it is the last item of the stream.
            Err(error) if !has_room && !error.is_fatal() => {
                if let Some(count) = self.dropped.note() {
                    tracing::warn!(?error, count, "cannot read broadcasts");
                }
            }
            next => {
                self.ahead_bytes += next.as_ref().map_or(0, size);
                self.ahead.push_back(next);
            }
        }
    }
}

/// Returns the size of a request: its body and its headers.
fn size(request: &Delivery) -> usize {
    request.message.body.len() + request.message.headers.byte_len()
}

enum Read {
    Request(Delivery),
    Cancel(Abandoned),
    Failed(Error),
    End,
}

impl Stream for RequestReceiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(request) = self.ahead.pop_front() {
            self.ahead_bytes -= request.as_ref().map_or(0, size);
            return Poll::Ready(Some(request));
        }
        match ready!(self.poll_read(cx)) {
            Read::Request(request) => Poll::Ready(Some(Ok(request))),
            Read::Failed(error) => Poll::Ready(Some(Err(error))),
            Read::End => Poll::Ready(None),
            Read::Cancel(call) => {
                self.abandoned = Some(call);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Inbound for RequestReceiver {
    /// Announces the drain. Reads on, so that core refuses the calls of callers that do
    /// not know of it yet, and learns of cancels.
    fn stop(self: Pin<&mut Self>) {
        self.presence.drain();
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.health.clone()
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Abandoned> {
        self.abandoned.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS_MAX {
            if self.has_ended {
                return Poll::Pending;
            }
            match ready!(self.poll_read(cx)) {
                Read::Request(request) => self.keep(Ok(request)),
                Read::Failed(error) => self.keep(Err(error)),
                Read::End => return Poll::Pending,
                Read::Cancel(call) => {
                    self.abandoned = Some(call);
                    return Poll::Ready(());
                }
            }
        }
        // A subscription that is never empty leaves other tasks their turns.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::mpsc;

    use super::super::envelope::InstanceEvent;
    use super::*;
    use crate::error::Code;
    use crate::message::Message;
    use crate::transport::{Outbound, Sender, Sending};

    /// A subscription that yields these events, and then waits.
    struct Events(VecDeque<Message>);

    impl Stream for Events {
        type Item = Result<Delivery>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            let next = self.0.pop_front();
            next.map_or(Poll::Pending, |event| Poll::Ready(Some(Ok(Delivery::settled(event)))))
        }
    }

    impl Inbound for Events {
        fn stop(mut self: Pin<&mut Self>) {
            self.0.clear();
        }
    }

    struct Sent(mpsc::UnboundedSender<Message>);

    impl Outbound for Sent {
        fn send(&self, message: Message) -> Sending<'_> {
            self.0.send(message).unwrap();
            Sending::ready(Ok(()))
        }
    }

    /// Returns the receiver of these events, and the refusals that it sends.
    fn receiver(
        events: impl IntoIterator<Item = Message>,
    ) -> (Receiver, mpsc::UnboundedReceiver<Message>) {
        let (sending, sent) = mpsc::unbounded_channel();
        let refusals = Refusals::start(Sender::new(Sent(sending)), "n=shop;i=1".into());
        let events = Receiver::new(Events(events.into_iter().collect()));
        let receiver = RequestReceiver::new(events, Arc::new(Presence::new()), refusals);
        (Receiver::new(receiver), sent)
    }

    fn event(kind: &CallerEvent, body: Vec<u8>) -> Message {
        let mut event = Message::new(body);
        kind.write(&mut event).unwrap();
        event
    }

    fn call(call: u64) -> CallerEvent {
        CallerEvent::Call { inbox: "0a-1".to_owned(), call }
    }

    async fn next_call(receiver: &mut Receiver) -> Option<CallId> {
        receiver.next().await.unwrap().unwrap().message.id
    }

    #[tokio::test]
    async fn repeats_are_dropped() {
        let one_way = event(&CallerEvent::OneWay, Vec::new());
        let first = event(&call(1), Vec::new());
        let events = [&first, &one_way, &first, &one_way].map(Message::clone);
        let (mut receiver, _sent) = receiver(events.into_iter().chain([event(&call(2), vec![])]));
        assert_eq!(next_call(&mut receiver).await, Some(CallId(1)));
        assert_eq!(next_call(&mut receiver).await, None);
        assert_eq!(next_call(&mut receiver).await, Some(CallId(2)));
    }

    #[tokio::test]
    async fn calls_and_cancels_are_read_after_a_stop() {
        let cancel = CallerEvent::Cancel { inbox: "0a-1".to_owned(), call: 1 };
        let events = [event(&call(1), vec![]), event(&cancel, vec![])];
        let (mut receiver, _sent) = receiver(events);
        receiver.stop();
        assert_eq!(next_call(&mut receiver).await, Some(CallId(1)));
        poll_fn(|cx| receiver.poll_read_ahead(cx)).await;
        let abandoned = poll_fn(|cx| receiver.poll_abandoned(cx)).await;
        assert_eq!(abandoned.id, CallId(1));
    }

    #[tokio::test]
    async fn calls_beyond_the_bounds_are_refused_and_the_cancel_behind_them_is_read() {
        let cancel = CallerEvent::Cancel { inbox: "0a-1".to_owned(), call: 9 };
        let full = u64::try_from(AHEAD_MAX).unwrap();
        let small = |call_id| event(&call(call_id), Vec::new());
        let many: Vec<_> = (0..=full).map(small).collect();
        let large = event(&call(0), vec![0; AHEAD_BYTES_MAX]);
        for (events, refused, held) in [(many, full, full), (vec![large, small(1)], 1, 1)] {
            let (mut receiver, mut sent) =
                receiver(events.into_iter().chain([event(&cancel, vec![])]));
            poll_fn(|cx| receiver.poll_read_ahead(cx)).await;
            assert_eq!(poll_fn(|cx| receiver.poll_abandoned(cx)).await.id, CallId(9));
            let mut refusal = sent.recv().await.unwrap();
            let (event, _) = InstanceEvent::take(&mut refusal).unwrap();
            assert_eq!(event, InstanceEvent::Outcome { call: refused });
            assert_eq!(refusal.fault.unwrap().code, Code::Unavailable);
            for call in 0..held {
                assert_eq!(next_call(&mut receiver).await, Some(CallId(call)));
            }
        }
    }
}
