//! The confirms of a line: taken as they come, and told when it is certain what they mean.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::returns::{Confirm, Fate, Mark, Returns, Verdict};
use super::window::Window;
use crate::error::{lock, lost_unconfirmed, too_large, unroutable};

/// A message on its way: written, then confirmed.
pub(super) struct Publication {
    pub(super) mark: Option<Mark>,
    pub(super) body_len: usize,
    pub(super) whose: Whose,
    pub(super) confirmation: Confirming,
}

pub(super) type Confirming = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// Who is to be told of a message, and what the telling needs.
pub(super) struct Whose {
    pub(super) routing_key: ShortString,
    pub(super) size: usize,
    pub(super) tell: oneshot::Sender<Result<()>>,
}

/// What was published, and not seen by the task that waits for confirms.
///
/// The engine numbers a message and queues its frames in the first poll of the future, under two
/// locks: held over that poll, this one keeps a second thread from getting in between, and its
/// confirms from being swapped. It also makes sure that whoever takes what is in here misses
/// nothing that the broker may have confirmed before.
///
/// It holds no more than the window lets out.
#[derive(Default)]
pub(super) struct Published {
    new: Mutex<Vec<Publication>>,
    is_over: AtomicBool,
    bells: Bells,
}

impl Published {
    /// Adds what `publish` makes, with nobody in between.
    pub(super) fn add(&self, publish: impl FnOnce() -> Publication) {
        lock(&self.new).push(publish());
        self.bells.rung.notify_one();
    }

    /// Says that nothing more will be published.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.bells.rung.notify_one();
    }

    fn take(&self) -> Vec<Publication> {
        std::mem::take(&mut *lock(&self.new))
    }
}

/// The numbers of the messages to look at, in the order in which something happened to them.
#[derive(Default)]
struct Bells {
    numbers: Mutex<Vec<u64>>,
    rung: Notify,
}

/// Rings for one message. Polling only those that rang is what makes it affordable to have an eye
/// on all of them.
struct Bell {
    number: u64,
    published: Arc<Published>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let Bells { numbers, rung } = &self.published.bells;
        let mut numbers = lock(numbers);
        numbers.push(self.number);
        // Whoever takes them takes them all.
        if numbers.len() == 1 {
            rung.notify_one();
        }
    }
}

/// What waits for its confirm.
///
/// No confirmation is dropped before it is there, whoever has stopped waiting for it: the engine
/// would keep it for ever.
///
/// A channel that refuses messages is given up for another: one that first published to a quorum
/// queue while the queue's leader was dying would refuse them until that node is back. What is on
/// its way over it is still confirmed.
pub(super) struct Confirms {
    _kept_open: Arc<Channel>,
    since: Instant,
    published: Arc<Published>,
    window: Arc<Window>,
    /// Told when there is less on its way.
    room: Arc<Notify>,
    waiting: VecDeque<Option<(Publication, Waker)>>,
    /// The number of the first of them.
    first: u64,
    on_their_way: usize,
    returns: Returns<Whose>,
}

impl Confirms {
    pub(super) fn new(
        channel: Arc<Channel>,
        published: Arc<Published>,
        window: Arc<Window>,
        room: Arc<Notify>,
    ) -> Self {
        let (waiting, returns, since) = (VecDeque::new(), Returns::new(), Instant::now());
        Self {
            _kept_open: channel,
            since,
            published,
            window,
            room,
            waiting,
            first: 0,
            on_their_way: 0,
            returns,
        }
    }

    /// Takes confirms and tells of them, until the line is gone and nothing on its way; says when
    /// the line is lost.
    pub(super) async fn serve(mut self, lost: watch::Sender<bool>) {
        loop {
            let batch = self.take_batch();
            if batch.is_empty() && !self.returns.is_waiting() {
                if self.on_their_way == 0 && self.published.is_over.load(Ordering::Acquire) {
                    return;
                }
                self.published.bells.rung.notified().await;
                continue;
            }
            if batch.iter().any(|confirm| self.is_over_with(&confirm.verdict)) {
                lost.send_replace(true);
            }
            for (whose, fate) in self.returns.take(batch, self.on_their_way) {
                self.window.leave(whose.size);
                // Whoever stopped waiting needs no outcome.
                let _ = whose.tell.send(outcome(fate, &whose.routing_key));
            }
            self.room.notify_one();
        }
    }

    /// Whether nothing more is to go over a line after this.
    fn is_over_with(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Taken => false,
            // A queue may refuse for reasons that another channel does not mend.
            Verdict::Refused => self.since.elapsed() >= REFUSING_MAX,
            Verdict::Lost(_) => true,
        }
    }

    /// All that were resolved before now, and maybe some that are resolved meanwhile.
    ///
    /// What rang is taken first, then what is new: by then everything is in there that can be
    /// confirmed by now.
    fn take_batch(&mut self) -> Vec<Confirm<Whose>> {
        let rung = std::mem::take(&mut *lock(&self.published.bells.numbers));
        let mut batch: Vec<_> =
            rung.into_iter().filter_map(|number| self.look_at(number)).collect();
        for publication in self.published.take() {
            let number = self.first + self.waiting.len() as u64;
            let bell = Waker::from(Arc::new(Bell { number, published: self.published.clone() }));
            self.waiting.push_back(Some((publication, bell)));
            self.on_their_way += 1;
            batch.extend(self.look_at(number));
        }
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
        batch
    }

    fn look_at(&mut self, number: u64) -> Option<Confirm<Whose>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let slot = self.waiting.get_mut(at)?;
        let (publication, bell) = slot.as_mut()?;
        let polled = publication.confirmation.as_mut().poll(&mut Context::from_waker(bell));
        let Poll::Ready(confirmation) = polled else { return None };
        let (Publication { mark, body_len, whose, .. }, _) = slot.take()?;
        self.on_their_way -= 1;
        let (verdict, brought) = read(confirmation, body_len);
        Some(Confirm { mark, verdict, brought: brought.map(mark_of), whose })
    }
}

fn read(
    confirmation: lapin::Result<Confirmation>,
    body_len: usize,
) -> (Verdict, Option<BasicReturnMessage>) {
    match confirmation {
        Ok(Confirmation::Ack(brought)) => (Verdict::Taken, brought),
        Ok(Confirmation::NotRequested) => (Verdict::Taken, None),
        Ok(Confirmation::Nack(brought)) => (Verdict::Refused, brought),
        // Trying again would end the same way; what else was on its way is merely lost with the
        // channel.
        Err(error)
            if let Some((size, limit)) =
                too_large(&error).filter(|(size, _)| *size == body_len) =>
        {
            let error = Error::new(ErrorKind::TooLarge, "the broker takes no message of this size")
                .unsent();
            (Verdict::Lost(error.with("size", size).with("limit", limit)), None)
        }
        Err(error) => (Verdict::Lost(lost_unconfirmed().with_source(error)), None),
    }
}

fn mark_of(message: BasicReturnMessage) -> Mark {
    let id = message.properties.message_id().clone();
    Mark::new(message.delivery.routing_key, id)
}

fn outcome(fate: Fate, routing_key: &ShortString) -> Result<()> {
    match fate {
        Fate::Taken => Ok(()),
        Fate::Returned => Err(unroutable(routing_key.as_str())),
        Fate::Refused => Err(Error::new(ErrorKind::Rejected, "the broker refused the message")
            .with("routing key", routing_key)),
        Fate::Unknown(error) => Err(error),
    }
}

/// How old a line is at least that is given up for refusing messages.
const REFUSING_MAX: Duration = Duration::from_secs(1);
