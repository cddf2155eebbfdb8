//! The task that reads replies and completes the calls that wait for them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Sleep, sleep};

use super::at_most_once_permits::Decision;
use super::pending_calls::{CloseOnDrop, PendingCalls, interrupted};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::transport::{Asked, Delivery, LogThrottle, Receiver, ReplySink, Sender, ServerNotice};

/// The reader of a requester's replies, shared by its task and the callers.
pub(super) struct ReplyReader {
    pending: Arc<PendingCalls>,
    late_replies: AtomicU64,
    bad_replies: AtomicU64,
    /// Throttle for the log line of bad replies.
    bad_log: LogThrottle,
}

impl ReplyReader {
    /// Creates a reader for at most `pending_max` in-flight calls.
    pub(super) fn new(pending_max: usize) -> Self {
        Self {
            pending: Arc::new(PendingCalls::new(pending_max)),
            late_replies: AtomicU64::new(0),
            bad_replies: AtomicU64::new(0),
            bad_log: LogThrottle::new(),
        }
    }

    /// Returns the table of in-flight calls.
    pub(super) fn pending(&self) -> &Arc<PendingCalls> {
        &self.pending
    }

    /// Returns the counters.
    pub(super) fn stats(&self) -> ClientStats {
        ClientStats {
            in_flight: self.pending.len(),
            late_replies: self.late_replies.load(Ordering::Relaxed),
            bad_replies: self.bad_replies.load(Ordering::Relaxed),
        }
    }

    /// Reads replies until the receiver ends, then fails every later call. So does dropping the
    /// future, for instance because its runtime shuts down. Answers the servers that ask, over
    /// `sender`, and checks those that may have begun a call.
    pub(super) fn run(
        self: Arc<Self>,
        mut receiver: Receiver,
        sender: Sender,
    ) -> impl Future<Output = ()> + Send {
        let reader = Arc::downgrade(&self);
        receiver.deliver_to(ReplySink::new(move |reply| {
            if let Some(reader) = reader.upgrade() {
                reader.take(reply);
            }
        }));
        // Not within the future, which may be dropped before it is polled.
        let closing = CloseOnDrop(self.pending.clone());
        async move {
            let _closing = closing;
            self.read(receiver, sender).await;
        }
    }

    async fn read(&self, mut receiver: Receiver, sender: Sender) {
        let mut timer = None;
        loop {
            match poll_fn(|cx| poll_next(&mut receiver, &mut timer, cx)).await {
                Next::Reply(reply) => self.take(reply),
                Next::Notice(ServerNotice::Gone(server)) => self.pending.server_is_gone(&server),
                Next::Notice(ServerNotice::Asked(asked)) => {
                    self.answer(&asked, &sender);
                    timer.get_or_insert_with(|| Box::pin(sleep(CHECK_EVERY)));
                }
                Next::Check => {
                    let servers = self.pending.servers();
                    servers.iter().for_each(|server| sender.check(server));
                    timer = (!servers.is_empty()).then(|| Box::pin(sleep(CHECK_EVERY)));
                }
                Next::End => break,
            }
        }
        self.pending.close(&Error::new(ErrorKind::Closed, "the transport is closed"));
    }

    /// Completes the call that waits for this reply, or fails those that an error concerns.
    fn take(&self, reply: Result<Delivery>) {
        match reply {
            Ok(delivery) => {
                self.complete(delivery.message);
                delivery.receipt.ack();
            }
            Err(error) => self.fail(error),
        }
    }

    /// Completes the call that waits for this reply.
    fn complete(&self, mut message: Box<Message>) {
        let completed = message.id.take().is_some_and(|id| self.pending.complete(id, Ok(message)));
        if !completed {
            self.late_replies.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("dropped a late reply: its call has ended");
        }
    }

    /// Answers a server that asks whether it may begin a call.
    fn answer(&self, asked: &Asked, sender: &Sender) {
        let decision = self.pending.decide(asked);
        sender.answer(asked, decision == Decision::Permit);
        if let Decision::DenyAndCheck(server) = decision {
            tracing::debug!(id = %asked.id, "a call that a server had begun was redelivered");
            sender.check(&server);
        }
    }

    /// Fails the calls that an error of the receiver concerns.
    fn fail(&self, error: Error) {
        match error.call() {
            // The error says that the server is gone, which may have begun the call.
            Some(call) if is_lost(&error) && self.pending.is_permitted(call) => {
                let reply = Box::new(Message::failed(interrupted()).with_id(call));
                self.pending.complete(call, Ok(reply));
            }
            Some(call) => {
                self.pending.complete(call, Err(error));
            }
            // The replies to all in-flight calls are lost with their connection.
            None if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::RepliesLost) => {
                self.pending.fail_all(&error);
            }
            None => {
                self.bad_replies.fetch_add(1, Ordering::Relaxed);
                if let Some(count) = self.bad_log.note() {
                    tracing::warn!(?error, count, "dropped replies that cannot be decoded");
                }
            }
        }
    }
}

/// Returns whether an error of a call says that its server is lost.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Unroutable)
}

/// The next event of a reader.
enum Next {
    Reply(Result<Delivery>),
    Notice(ServerNotice),
    /// The servers are to be checked.
    Check,
    End,
}

/// The timer of the next check. There is none without permitted calls.
type CheckTimer = Option<Pin<Box<Sleep>>>;

fn poll_next(receiver: &mut Receiver, timer: &mut CheckTimer, cx: &mut Context<'_>) -> Poll<Next> {
    if let Poll::Ready(notice) = receiver.poll_notice(cx) {
        return Poll::Ready(Next::Notice(notice));
    }
    if timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
        return Poll::Ready(Next::Check);
    }
    Pin::new(receiver).poll_next(cx).map(|next| next.map_or(Next::End, Next::Reply))
}

/// The pause between two checks of the servers that may have begun a call. A call ends after the
/// second check that finds its server gone.
const CHECK_EVERY: Duration = Duration::from_millis(600);

/// The counters of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Calls in flight at present.
    pub in_flight: usize,
    /// Replies that arrived after their call had ended.
    pub late_replies: u64,
    /// Replies that could not be decoded and named no call.
    pub bad_replies: u64,
}
