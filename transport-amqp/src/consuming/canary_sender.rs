//! Canaries of a consumer: sent through the broker to its queue, and back.
//!
//! Several consumers may compete for the queue, and the broker gives the canary to one of them. If
//! another one receives it, that instance answers to a queue of the sender, and the sender tries
//! again: the broker takes consumers with room in turn. So the sender learns whether the queue is
//! consumed at all, and in most cases whether its own consumer receives, too.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Consumer;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use polywire_core::health::{
    CanaryEcho, CanaryReceiver, EndpointProbe, PendingCanaries, PendingCanary,
};
use polywire_core::transport::async_trait;
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::control_queue;
use crate::connection::channel_setup_guard::ChannelSetupGuard;
use crate::engine_error::failed;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::unique_number::unique;
use crate::wire::native::{self, Canary};

/// Sender of the canaries of one consumer.
///
/// The health of the endpoint handle owns the sender, and core starts each probe.
pub(super) struct QueueProbe {
    shared: Arc<AmqpShared>,
    queue: ShortString,
    /// True if the broker dead-letters what expires in the queue. Canaries do not expire there.
    is_dead_lettering: bool,
    /// Canaries that the consumer has not received yet.
    pending: PendingCanaries,
    /// The latest canary, until the next one is sent. Locked until the canary is back, so that
    /// concurrent probes of one consumer take turns.
    latest: Mutex<Option<SentCanary>>,
}

/// A canary in the queue, or on its way there.
struct SentCanary {
    number: u128,
    sent: Instant,
    /// Set when the broker has confirmed the canary.
    is_confirmed: bool,
    pending: PendingCanary,
}

/// Queue for the answers of other receivers, which lives as long as its channel.
struct AnswerQueue {
    name: ShortString,
    answers: Consumer,
    _channel: ChannelSetupGuard,
}

impl QueueProbe {
    /// Creates the sender of canaries to a queue, whose consumer completes `pending` ones.
    pub(super) fn new(
        shared: Arc<AmqpShared>,
        queue: &QueueSpec,
        pending: PendingCanaries,
    ) -> Self {
        let is_dead_lettering = queue.options.is_dead_lettering();
        let (queue, latest) = (queue.name.clone(), Mutex::default());
        Self { shared, queue, is_dead_lettering, pending, latest }
    }

    /// Declares and consumes a queue for answers. `None` if the user may not declare it.
    ///
    /// Each probe has a new queue, which the broker deletes with the channel.
    async fn answer_queue(&self) -> Result<Option<AnswerQueue>> {
        let connection = &self.shared.consuming_connection;
        let channel = ChannelSetupGuard::new(connection.channel().await?);
        let cannot = |error: lapin::Error| failed("cannot declare the queue for canaries", &error);
        let name = match control_queue::declare(channel.channel(), None).await.map_err(cannot) {
            Ok(name) => name,
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::debug!(?error, "cannot receive answers to canaries");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let options =
            BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let consuming = channel.channel().basic_consume(
            name.clone(),
            "".into(),
            options,
            FieldTable::default(),
        );
        match consuming.await.map_err(cannot) {
            Ok(answers) => Ok(Some(AnswerQueue { name, answers, _channel: channel })),
            Err(error) if error.kind() == ErrorKind::Denied => {
                tracing::debug!(?error, "cannot receive answers to canaries");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends one canary, and waits until this consumer or another one has received it.
    ///
    /// `limit` is the time after which the broker removes the canary, unless the queue
    /// dead-letters. If the future is dropped, the canary stays in the queue until then.
    ///
    /// A canary that may still wait in a dead-lettering queue is not sent again: the call waits for
    /// that one.
    async fn send(&self, answers: &mut Option<AnswerQueue>, limit: Duration) -> Result<CanaryEcho> {
        let mut latest = self.latest.lock().await;
        if !latest.as_ref().is_some_and(|latest| self.is_in_queue(latest)) {
            let number = unique();
            let (sent, pending) = (Instant::now(), self.pending.begin(number));
            let canary = latest.insert(SentCanary { number, sent, is_confirmed: false, pending });
            let reply_queue = answers.as_ref().map(|answers| answers.name.clone());
            let limit = (!self.is_dead_lettering).then_some(limit);
            let message =
                native::encode_canary(&self.queue, &Canary { number, reply_queue }, limit);
            self.shared.publisher.publish(message).await?;
            canary.is_confirmed = true;
        }
        let Some(SentCanary { number, sent, pending, .. }) = &mut *latest else {
            return Err(Error::new(ErrorKind::Closed, "cannot receive the canary: it was lost"));
        };
        tokio::select! {
            biased;
            echo = pending.echo() => echo,
            instance = other_receiver(answers, *number) => {
                let receiver = CanaryReceiver::Other { instance: instance? };
                self.pending.complete(*number, receiver.clone());
                Ok(CanaryEcho::new(sent.elapsed(), receiver))
            }
        }
    }

    /// Returns whether a canary that does not expire most likely waits in the queue still. Another
    /// one would wait beside it, without a bound, while nothing consumes the queue.
    fn is_in_queue(&self, canary: &SentCanary) -> bool {
        self.is_dead_lettering
            && canary.is_confirmed
            && self.pending.is_pending(canary.number)
            && canary.sent.elapsed() < RESENT_AFTER
    }
}

#[async_trait]
impl EndpointProbe for QueueProbe {
    /// Sends canaries until this consumer has received one.
    ///
    /// The first canary may take until core drops the future. Further ones follow within the first
    /// half of `limit`, up to 16 in total; then the echo of another consumer is the result.
    async fn canary(&self, limit: Duration) -> Result<CanaryEcho> {
        let began = Instant::now();
        let connection = &self.shared.consuming_connection;
        let mut answers = connection.unless_lost(self.answer_queue()).await?;
        let mut echo = self.send(&mut answers, limit).await?;
        for _ in 1..TRIES_MAX {
            let left = (limit / 2).saturating_sub(began.elapsed());
            if echo.receiver == CanaryReceiver::ThisEndpoint || left.is_zero() {
                break;
            }
            match timeout(left, self.send(&mut answers, left)).await {
                Ok(Ok(next)) => echo = next,
                // The echo of another receiver stands.
                Ok(Err(_)) | Err(_) => break,
            }
        }
        Ok(echo)
    }
}

/// Waits for the answer of another receiver, and returns its instance.
///
/// Without a queue for answers, the future never resolves.
async fn other_receiver(answers: &mut Option<AnswerQueue>, number: u128) -> Result<String> {
    let Some(AnswerQueue { answers, .. }) = answers else { return std::future::pending().await };
    while let Some(Ok(raw)) = answers.next().await {
        match native::decode_canary_answer(&raw.properties) {
            Some((answered, instance)) if answered == number => return Ok(instance),
            // The answer to an earlier canary.
            _ => {}
        }
    }
    let text = "cannot receive the answer to the canary: the channel was lost";
    Err(Error::new(ErrorKind::Disconnected, text))
}

/// The most canaries that one probe sends, within the first half of its limit.
const TRIES_MAX: u32 = 16;

/// The time after which a canary that does not expire is given up, and the next one is sent.
const RESENT_AFTER: Duration = Duration::from_mins(1);
