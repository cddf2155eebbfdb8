//! A channel to publish on, in confirm mode.

mod confirms;
mod returns;
pub(crate) mod signature;
mod window;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, ConnectionStatus};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::confirms::{Confirming, Confirms, Publication, Published, Whose};
use self::returns::Mark;
use self::signature::Signature;
use self::window::Window;
use crate::bounds::Bounds;
use crate::connection::supervised::SupervisedConnection;
use crate::error::failed;
use crate::lines::Parcel;
use crate::wire::Publishing;

/// A channel in confirm mode, and the task that takes its confirms. It does not come back.
pub(crate) struct Line {
    channel: Arc<Channel>,
    connection: ConnectionStatus,
    frame_max: usize,
    published: Arc<Published>,
    window: Arc<Window>,
    signature: OnceLock<Signature>,
    /// The last id that was given to a message without one.
    last_id: AtomicU64,
    lost: watch::Sender<bool>,
    /// The task that takes in what comes over the same channel, if anything does.
    reader: OnceLock<AbortHandle>,
}

/// What a line does with a message now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// The broker takes nothing for now, for this reason.
    Stopped(&'static str),
    Lost,
}

impl Line {
    /// Opens a line that has so much on its way at most, and tells `room` when there is less. It
    /// sends nothing before it has a [signature](Self::sign_with).
    pub(crate) async fn open(
        session: &SupervisedConnection,
        unconfirmed: Bounds,
        room: Arc<Notify>,
    ) -> Result<Arc<Self>> {
        let (channel, connection) = session.channel_with_status().await?;
        let frame_max = session.frame_max();
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| failed("cannot turn confirms on", error))?;
        let (published, window) = (Arc::<Published>::default(), Arc::new(Window::new(unconfirmed)));
        let lost = watch::Sender::new(false);
        let (channel, last_id) = (Arc::new(channel), AtomicU64::new(0));
        // It ends with the line, after what is on its way by then.
        tokio::spawn(
            Confirms::new(channel.clone(), published.clone(), window.clone(), room)
                .serve(lost.clone()),
        );
        let (reader, signature) = (OnceLock::new(), OnceLock::new());
        let line = Self {
            channel,
            connection,
            frame_max,
            published,
            window,
            signature,
            last_id,
            lost,
            reader,
        };
        Ok(Arc::new(line))
    }

    /// The channel, for what has to happen on the same one.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Takes a task into its charge that reads from the channel, to end it with itself.
    pub(crate) fn own(&self, reader: AbortHandle) {
        // There is one.
        let _ = self.reader.set(reader);
    }

    /// Has what goes out say who sends it.
    pub(crate) fn sign_with(&self, signature: Signature) {
        // There is one.
        let _ = self.signature.set(signature);
    }

    /// What it would do with a message of so many bytes.
    pub(crate) fn readiness(&self, size: usize) -> Readiness {
        if *self.lost.borrow() || !self.is_open() {
            Readiness::Lost
        } else if self.connection.blocked() {
            Readiness::Stopped("it runs out of memory or disk")
        } else if !self.signature.get().is_some_and(Signature::is_settled) {
            Readiness::Stopped("it has not said yet whether it takes us for who we are")
        } else if !self.window.has_room(size) {
            Readiness::Stopped("too much is not confirmed")
        } else {
            Readiness::Ready
        }
    }

    /// The connection knows it a moment before its channels do.
    fn is_open(&self) -> bool {
        self.connection.connected() && self.channel.status().connected()
    }

    /// Queues a message, for which the line is to be ready.
    pub(crate) fn write(&self, parcel: Parcel) {
        let size = parcel.size();
        let Parcel { mut message, deadline, tell, .. } = parcel;
        if message.signed
            && let Some(user) = self.signature.get().and_then(Signature::user)
        {
            message.sign(user.clone());
        }
        if let Err(error) = self.check_header(&message) {
            // Whoever published holds the other half.
            let _ = tell.send(Err(error));
            return;
        }
        if let Some(deadline) = deadline {
            message.expire_by(deadline);
        }
        if message.mandatory && message.properties.message_id().is_none() {
            message.identify(self.last_id.fetch_add(1, Ordering::Relaxed));
        }
        let (mark, routing_key, body_len) =
            (Mark::of(&message), message.routing_key.clone(), message.body.len());
        self.window.enter(size);
        self.published.add(|| {
            let confirmation = begun(Box::pin(write(self.channel.clone(), message)));
            Publication { mark, body_len, whose: Whose { routing_key, size, tell }, confirmation }
        });
    }

    /// A header over the bound would cost the connection, and with it everything that is on its
    /// way.
    fn check_header(&self, message: &Publishing) -> Result<()> {
        let size = message.header_len();
        if size <= self.frame_max {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::TooLarge,
            "the headers, or the fault among them, do not fit into a frame",
        );
        Err(error.with("size", size).with("limit", self.frame_max).unsent())
    }

    /// Notes that the channel is lost.
    pub(crate) fn lose(&self) {
        self.lost.send_replace(true);
    }

    /// Waits until the line is lost.
    pub(crate) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        let noticed = lost.wait_for(|lost| *lost);
        tokio::pin!(noticed);
        // A line on which nothing is published notices nothing.
        while timeout(LOOK_EVERY, &mut noticed).await.is_err() && self.is_open() {}
    }
}

/// How soon a lost line is noticed on which nothing is published.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Drop for Line {
    fn drop(&mut self) {
        self.published.end();
        if let Some(reader) = self.reader.get() {
            reader.abort();
        }
    }
}

/// Polls for the first time, which numbers the message and queues it. Nobody needs to be woken: the
/// task that takes the confirms polls again.
fn begun(mut confirmation: Confirming) -> Confirming {
    match confirmation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Box::pin(std::future::ready(done)),
        Poll::Pending => confirmation,
    }
}

async fn write(channel: Arc<Channel>, message: Publishing) -> lapin::Result<Confirmation> {
    let Publishing { exchange, routing_key, mandatory, properties, body, .. } = message;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
}
