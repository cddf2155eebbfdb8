//! The publishing side: one channel for all ends of a transport, and a confirm for every message.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use polywire_core::{Deadline, Error, ErrorKind, Result, Sending};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::error::{closed, failed, lock, lost_on_the_way, unroutable};
use crate::session::{PAUSE_MAX, PAUSE_MIN, Session, jittered};
use crate::wire::Publishing;

/// Publishes on one line after the other, and waits for confirms.
pub(crate) struct Lines {
    session: Arc<Session>,
    line: watch::Receiver<Option<Arc<Line>>>,
    connect_timeout: Duration,
    confirm_timeout: Duration,
    keeper: AbortHandle,
}

/// What to do about a message that no queue took. Its own sender is told by its confirm, if the two come together.
pub(crate) type OnReturn = Arc<dyn Fn(Returned<'_>) + Send + Sync>;

/// A message that no queue took.
#[derive(Clone, Copy)]
pub(crate) struct Returned<'a> {
    pub(crate) message: &'a BasicReturnMessage,
    /// Whether its sender is told as well.
    pub(crate) is_told: bool,
}

impl Lines {
    /// Opens a channel, and keeps one open from then on.
    pub(crate) async fn open(
        session: Arc<Session>,
        on_return: OnReturn,
        connect_timeout: Duration,
        confirm_timeout: Duration,
    ) -> Result<Self> {
        let first = Line::open(&session, on_return.clone()).await?;
        let (tell, line) = watch::channel(Some(first.clone()));
        let keeper = tokio::spawn(keep(session.clone(), on_return, tell, first)).abort_handle();
        Ok(Self { session, line, connect_timeout, confirm_timeout, keeper })
    }

    /// Publishes. Resolves when the broker has confirmed, or returned, or refused the message.
    ///
    /// While there is no connection it waits for one, up to the deadline or the connect time.
    pub(crate) fn publish(&self, message: Publishing, deadline: Option<Deadline>) -> Sending<'_> {
        let line = self.line.borrow().clone();
        let published = match line {
            Some(line) => line.publish(message),
            None => Err(message),
        };
        match published {
            Ok(confirmed) => Sending::later(self.confirmed(confirmed)),
            Err(message) => Sending::later(self.publish_later(message, deadline)),
        }
    }

    async fn publish_later(&self, mut message: Publishing, deadline: Option<Deadline>) -> Result<()> {
        let patience = Instant::now() + self.connect_timeout;
        let give_up = deadline.map_or(patience, |deadline| patience.min(deadline.instant()));
        let mut lines = self.line.clone();
        loop {
            let line = match timeout_at(give_up, lines.wait_for(Option::is_some)).await {
                Ok(Ok(line)) => line.clone(),
                Ok(Err(_)) => return Err(self.session.refusal().unwrap_or_else(closed)),
                Err(_) => {
                    let error = Error::new(ErrorKind::Disconnected, "there is no connection to the broker");
                    return Err(error.unsent());
                }
            };
            let Some(line) = line else { continue };
            message = match line.publish(message) {
                Ok(confirmed) => return self.confirmed(confirmed).await,
                Err(message) => message,
            };
            // The line is lost, and its keeper about to notice.
            sleep(LOOK_EVERY).await;
        }
    }

    async fn confirmed(&self, confirmed: oneshot::Receiver<Result<()>>) -> Result<()> {
        match timeout(self.confirm_timeout, confirmed).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(lost_on_the_way()),
            Err(_) => {
                let error =
                    Error::new(ErrorKind::Disconnected, "the broker did not confirm the message in time");
                Err(error.with("seconds", self.confirm_timeout.as_secs()))
            }
        }
    }

    pub(crate) fn close(&self) {
        // With the keeper goes the sending side of `line`, which ends those that wait.
        self.keeper.abort();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Opens a line whenever the last one is lost, until the broker refuses us for good.
async fn keep(
    session: Arc<Session>,
    on_return: OnReturn,
    tell: watch::Sender<Option<Arc<Line>>>,
    mut line: Arc<Line>,
) {
    loop {
        line.lost().await;
        drop(line);
        tell.send_replace(None);
        session.suspect();
        let mut pause = PAUSE_MIN;
        line = loop {
            match Line::open(&session, on_return.clone()).await {
                Ok(line) => break line,
                Err(_) if session.refusal().is_some() => return,
                Err(error) => tracing::debug!(?error, "no channel to publish on yet"),
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        };
        tell.send_replace(Some(line.clone()));
    }
}

/// A channel in confirm mode, and the task that takes its confirms.
struct Line {
    channel: Arc<Channel>,
    frame_max: usize,
    /// In the order in which the broker will confirm. Unbounded, because whoever publishes waits for the confirm: core
    /// bounds the calls in flight and the requests that are worked on, jobs and events are as many as there are futures
    /// of their pushers and publishers, and copies as many as deliveries in a window.
    published: mpsc::UnboundedSender<(Confirming, oneshot::Sender<Result<()>>)>,
    /// The engine numbers a message and queues its frames in the first poll of the future, under two locks: held over
    /// that poll, this one keeps a second thread from getting in between, and its confirms from being swapped.
    first_poll: Mutex<()>,
    lost: watch::Receiver<bool>,
}

/// A message on its way: written, then confirmed.
struct Confirming {
    routing_key: String,
    id: Option<String>,
    confirmation: Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>,
}

impl Line {
    async fn open(session: &Session, on_return: OnReturn) -> Result<Arc<Self>> {
        let channel = session.channel().await?;
        let frame_max = session.frame_max();
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| failed("cannot turn confirms on", error))?;
        let (published, publications) = mpsc::unbounded_channel();
        let (tell, lost) = watch::channel(false);
        let (channel, first_poll) = (Arc::new(channel), Mutex::default());
        // It ends with the line, after what is on its way by then.
        tokio::spawn(confirm_all(channel.clone(), publications, on_return, tell));
        Ok(Arc::new(Self { channel, frame_max, published, first_poll, lost }))
    }

    /// Queues a message, or gives it back if the line is lost.
    #[expect(clippy::result_large_err, reason = "the error is the message itself, which moves on")]
    fn publish(&self, message: Publishing) -> Result<oneshot::Receiver<Result<()>>, Publishing> {
        if *self.lost.borrow() || !self.channel.status().connected() {
            return Err(message);
        }
        let (tell, confirmed) = oneshot::channel();
        if let Err(error) = self.check_header(&message) {
            // Whoever published holds the other half.
            let _ = tell.send(Err(error));
            return Ok(confirmed);
        }
        let routing_key = message.routing_key.as_str().to_owned();
        let id = message.properties.message_id().as_ref().map(|id| id.as_str().to_owned());
        let mut confirmation: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(write(self.channel.clone(), message));
        let _first = lock(&self.first_poll);
        // Nobody needs to be woken: the confirmer polls it again.
        if let Poll::Ready(done) = confirmation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            confirmation = Box::pin(std::future::ready(done));
        }
        // The confirmer ends only with the line.
        let _ = self.published.send((Confirming { routing_key, id, confirmation }, tell));
        Ok(confirmed)
    }

    /// A header over the bound would cost the connection, and with it everything that is on its way.
    fn check_header(&self, message: &Publishing) -> Result<()> {
        let size = message.header_len();
        if size <= self.frame_max {
            return Ok(());
        }
        let error =
            Error::new(ErrorKind::TooLarge, "the headers, or the fault among them, do not fit into a frame");
        Err(error.with("size", size).with("limit", self.frame_max).unsent())
    }

    async fn lost(&self) {
        let mut lost = self.lost.clone();
        // Its other side goes only after it has said so.
        let noticed = lost.wait_for(|lost| *lost);
        tokio::pin!(noticed);
        // A line on which nothing is published notices nothing.
        while timeout(LOOK_EVERY, &mut noticed).await.is_err() && self.channel.status().connected() {}
    }
}

/// How soon a lost line is noticed on which nothing is published.
const LOOK_EVERY: Duration = Duration::from_millis(200);

async fn write(channel: Arc<Channel>, message: Publishing) -> lapin::Result<Confirmation> {
    let Publishing { exchange, routing_key, mandatory, properties, body } = message;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
}

/// Takes confirms in the order in which they are due, so that only the first of them has to wake anybody.
///
/// No confirmation is dropped before it is there, whoever has stopped waiting for it: the engine would keep it for ever.
///
/// A channel that refuses messages is given up for another: one that first published to a quorum queue while the queue's
/// leader was dying would refuse them until that node is back.
async fn confirm_all(
    _kept_open: Arc<Channel>,
    mut publications: mpsc::UnboundedReceiver<(Confirming, oneshot::Sender<Result<()>>)>,
    on_return: OnReturn,
    lost: watch::Sender<bool>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let start = Instant::now();
    while publications.recv_many(&mut batch, BATCH).await > 0 {
        for (message, tell) in batch.drain(..) {
            let outcome = outcome(message, &on_return).await;
            let is_over = match outcome.as_ref().map_err(Error::kind) {
                Err(ErrorKind::Disconnected) => true,
                // A queue may refuse for reasons that another channel does not mend.
                Err(ErrorKind::Rejected) => start.elapsed() >= REFUSING_MAX,
                _ => false,
            };
            if is_over {
                lost.send_replace(true);
            }
            // Whoever stopped waiting needs no outcome.
            let _ = tell.send(outcome);
        }
    }
}

const BATCH: usize = 256;
/// How old a line is at least that is given up for refusing messages.
const REFUSING_MAX: Duration = Duration::from_secs(1);

async fn outcome(message: Confirming, on_return: &OnReturn) -> Result<()> {
    let Confirming { routing_key, id, confirmation } = message;
    match confirmation.await {
        Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => Ok(()),
        Ok(Confirmation::Ack(Some(returned))) => {
            returned_to(&routing_key, id.as_deref(), &returned, on_return)
        }
        Ok(Confirmation::Nack(_)) => Err(Error::new(ErrorKind::Rejected, "the broker refused the message")
            .with("routing key", routing_key)),
        Err(error) => Err(lost_on_the_way().with_source(error)),
    }
}

/// A returned message arrives with some confirm, and not always with its own: its id says which it is.
fn returned_to(
    routing_key: &str,
    id: Option<&str>,
    message: &BasicReturnMessage,
    on_return: &OnReturn,
) -> Result<()> {
    let id_matches = message.properties.message_id().as_ref().map(ShortString::as_str) == id;
    // What others wrote has no id, if it is published again.
    let is_told = id_matches && message.routing_key.as_str() == routing_key;
    on_return(Returned { message, is_told });
    if is_told { Err(unroutable(routing_key)) } else { Ok(()) }
}
