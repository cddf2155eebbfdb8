//! What callers tell servers beside their requests: that they have stopped waiting for one.
//!
//! It goes its own ways at both ends, apart from requests and replies, so that nothing that the
//! broker holds against it costs them anything. It may get lost: then a handler goes on until its
//! deadline, as it does without.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::message::Delivery as Raw;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use polywire_core::transport::Abandoned;
use polywire_core::{Address, Result};
use tokio::sync::{mpsc, oneshot};

use crate::backoff::{Backoff, PAUSE_MIN, pause};
use crate::error::failed;
use crate::opening::Opening;
use crate::session::Session;
use crate::transport::Inner;
use crate::unique::unique;
use crate::wire::{Native, Publishing, Wire};

/// Where the calling ends of a transport leave word.
pub(crate) struct Words(mpsc::Sender<Publishing>);

impl Words {
    /// Begins to pass words on.
    pub(crate) fn pass_on(transport: &Inner) -> Self {
        let (leave, words) = mpsc::channel(WORDS_MAX);
        let passing = pass_on(transport.publishing.clone(), words);
        transport.own(tokio::spawn(passing).abort_handle());
        Self(leave)
    }

    /// Leaves a word, if there is room. It does not wait.
    pub(crate) fn leave(&self, word: Publishing) {
        if self.0.try_send(word).is_err() {
            tracing::debug!(
                "a server is not told that its caller has stopped waiting, for want of room"
            );
        }
    }
}

/// Passes words on, over a channel of their own, which is opened with the first of them. What comes
/// while there is no connection waits, as far as there is room.
async fn pass_on(session: Arc<Session>, mut words: mpsc::Receiver<Publishing>) {
    let mut channel = None;
    while let Some(word) = words.recv().await {
        if let Err(error) = session.unless_lost(pass(&session, &mut channel, word)).await {
            tracing::debug!(?error, "cannot tell that a caller has stopped waiting");
            channel = None;
            pause(PAUSE_MIN).await;
        }
    }
}

async fn pass(session: &Session, channel: &mut Option<Channel>, word: Publishing) -> Result<()> {
    let open = match channel.take().filter(|open| open.status().connected()) {
        Some(open) => open,
        None => session.channel().await?,
    };
    publish(channel.insert(open), word).await
}

/// Nobody has to be there, and nothing is confirmed.
async fn publish(channel: &Channel, word: Publishing) -> Result<()> {
    let Publishing { exchange, routing_key, properties, body, .. } = word;
    let options = BasicPublishOptions::default();
    let publishing = channel.basic_publish(exchange, routing_key, options, &body, properties);
    publishing.await.map_err(|error| failed("cannot publish", error))?;
    Ok(())
}

/// Listens to what the callers of `service` tell, from when this returns; ends when nobody reads.
///
/// If the broker does not let us, that is said in the log: the server works without.
pub(crate) async fn listen(
    transport: &Inner,
    service: &Address,
) -> Result<mpsc::Receiver<Abandoned>> {
    let key = Native.abandoned_key(service)?;
    let (put, take) = mpsc::channel(WORDS_MAX);
    let (tell, ready) = oneshot::channel();
    let listener = Listener { session: transport.consuming.clone(), key, put };
    transport.own(tokio::spawn(listener.serve(tell)).abort_handle());
    // It is dropped if the transport is closed meanwhile, and then so is whatever was opened.
    let _ = ready.await;
    Ok(take)
}

struct Listener {
    session: Arc<Session>,
    key: ShortString,
    put: mpsc::Sender<Abandoned>,
}

impl Listener {
    async fn serve(self, ready: oneshot::Sender<()>) {
        let put = self.put.clone();
        tokio::select! {
            () = put.closed() => {}
            () = self.listen_again_and_again(ready) => {}
        }
    }

    async fn listen_again_and_again(self, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut backoff = Backoff::new();
        loop {
            let listening = self.session.unless_lost(self.consume()).await;
            if let Some(ready) = ready.take() {
                // Whoever was opening may have given up.
                let _ = ready.send(());
            }
            match listening {
                Ok((channel, words)) => {
                    backoff.reset();
                    self.take_in(&channel, words).await;
                }
                Err(_) if self.session.refusal().is_some() => return,
                Err(error) if error.is_transient() => {
                    tracing::debug!(?error, "cannot listen to callers yet")
                }
                Err(error) => {
                    tracing::warn!(
                        ?error,
                        "the broker does not let us listen to callers that stop waiting"
                    );
                    backoff.slow_down();
                }
            }
            backoff.wait().await;
        }
    }

    /// Makes a queue and consumes it. It goes with the channel, and has another name the next time:
    /// the broker may hold on to this one for as long as it does not know that its connection
    /// is dead.
    async fn consume(&self) -> Result<(Channel, Consumer)> {
        let opening = Opening::new(self.session.channel().await?);
        let channel = opening.channel();
        let name = ShortString::from(format!("polywire.control..{:032x}", unique()));
        let cannot = |error| failed("cannot listen to callers", error);
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let mut bounds = FieldTable::default();
        bounds.insert("x-max-length".into(), AMQPValue::LongInt(WORDS_MAX as i32));
        channel.queue_declare(name.clone(), options, bounds).await.map_err(cannot)?;
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let exchange = Native.control_exchange();
        let bound =
            channel.queue_bind(name.clone(), exchange, self.key.clone(), options, none).await;
        bound.map_err(cannot)?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(cannot)?;
        let (options, none) = (
            BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() },
            FieldTable::default(),
        );
        let words = channel.basic_consume(name, "".into(), options, none).await.map_err(cannot)?;
        Ok((opening.done(), words))
    }

    async fn take_in(&self, channel: &Channel, mut words: Consumer) {
        while let Some(Ok(raw)) = words.next().await {
            let (tag, abandoned) = (raw.delivery_tag, read(&raw));
            if let Some(abandoned) = abandoned
                && self.put.send(abandoned).await.is_err()
            {
                return;
            }
            if channel.basic_ack(tag, BasicAckOptions::default()).await.is_err() {
                return;
            }
        }
    }
}

/// The call that a word is about. What is no word of ours is about none.
fn read(raw: &Raw) -> Option<Abandoned> {
    let abandoned = Native.decode_abandoned(&raw.properties);
    if abandoned.is_none() {
        tracing::debug!("dropped what is no word of a caller");
    }
    abandoned
}

/// Words that wait to be passed on, at either end and at the broker. The default is 1,024; one too
/// many is dropped.
const WORDS_MAX: usize = 1024;
/// Words that the broker sends before the first of them is acknowledged.
const PREFETCH: u16 = 64;
