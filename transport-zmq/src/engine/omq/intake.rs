//! What a socket takes in until it is told to take in no more.

use std::sync::Arc;

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use omq_tokio::{Message, Socket};
use tokio::sync::watch;

use super::{BATCH, Port};

pub(super) struct Intake {
    port: Arc<Port>,
    stopped: watch::Sender<bool>,
}

impl Intake {
    pub(super) fn new(port: Arc<Port>) -> Self {
        Self { port, stopped: watch::Sender::new(false) }
    }

    /// What arrives, until the socket is closed; or, if it was stopped, until all that had arrived
    /// is yielded.
    pub(super) fn messages(&self) -> impl Stream<Item = Message> + Send + use<> {
        let state = (self.port.socket.clone(), self.stopped.subscribe(), Vec::new());
        stream::unfold(state, |(socket, mut stopped, mut batch)| async move {
            if batch.is_empty() {
                // So that a peer that never pauses does not keep other tasks from running.
                tokio::task::coop::consume_budget().await;
                receive(&socket, &mut stopped, &mut batch).await?;
                batch.reverse();
            }
            batch.pop().map(|message| (message, (socket, stopped, batch)))
        })
        .fuse()
    }

    /// Takes in no more, from a task of its own.
    pub(super) fn stop(&self) {
        let (port, stopped) = (self.port.clone(), self.stopped.clone());
        let retire = async move {
            port.retire().await;
            stopped.send_replace(true);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(retire)),
            // Nothing runs that could bring more.
            Err(_) => drop(self.stopped.send_replace(true)),
        }
    }
}

async fn receive(
    socket: &Socket,
    stopped: &mut watch::Receiver<bool>,
    batch: &mut Vec<Message>,
) -> Option<()> {
    tokio::select! {
        biased;
        received = socket.recv_many_into(BATCH, batch) => received.ok().map(drop),
        // The sender lives as long as the end.
        _ = stopped.wait_for(|stopped| *stopped) => {
            let left = socket.try_recv_many_into(BATCH, batch).ok()?;
            (left > 0).then_some(())
        }
    }
}
