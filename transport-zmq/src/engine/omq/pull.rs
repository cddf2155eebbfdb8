//! PULL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{Message, Socket, SocketType};
use polywire_core::{Address, Result, Window};
use tokio::sync::watch;

use super::{BATCH, HIGH_WATER_MARK, Port, frames_of, open, options};
use crate::config::Settings;
use crate::engine::Ports;
use crate::plan::Change;
use crate::wire::{Frames, unique};

pub(in crate::engine) struct Pull {
    port: Arc<Port>,
    frames_max: usize,
    stopped: watch::Sender<bool>,
}

impl Pull {
    /// For this queue, or for jobs of any.
    pub(in crate::engine) fn open(
        settings: &Settings,
        queue: Option<&Address>,
        window: Window,
    ) -> Result<Self> {
        let ahead = u32::try_from(window.messages()).unwrap_or(u32::MAX).min(HIGH_WATER_MARK);
        let options = options(settings)
            .identity(queue.map(name_of_puller).unwrap_or_default())
            .recv_hwm(ahead)
            // It sends nothing, and is not to take in jobs for a second that it does not hand out.
            .linger(Duration::ZERO);
        let port = Arc::new(Port::new(open(SocketType::Pull, options)?));
        Ok(Self { port, frames_max: settings.limits.frames_max, stopped: watch::Sender::new(false) })
    }
}

/// What a puller says of itself, so that a pusher of another queue leaves it alone: PULL sends nothing but that.
fn name_of_puller(queue: &Address) -> Bytes {
    [queue.as_str().as_bytes(), &[0], &unique()].concat().into()
}

/// Whether who names itself so pulls from this queue. One that has no name may.
pub(super) fn is_of_queue(identity: &[u8], queue: &Address) -> bool {
    let name = identity.split(|byte| *byte == 0).next().unwrap_or_default();
    name.is_empty() || name == queue.as_str().as_bytes()
}

impl Ports for Pull {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Pull for Pull {
    fn jobs(&self) -> BoxStream<'static, Frames> {
        let frames_max = self.frames_max;
        let state = (self.port.socket.clone(), self.stopped.subscribe(), Vec::new());
        stream::unfold(state, move |(socket, mut stopped, mut batch)| async move {
            if batch.is_empty() {
                // So that a peer that never pauses does not keep other tasks from running.
                tokio::task::coop::consume_budget().await;
                receive(&socket, &mut stopped, &mut batch).await?;
                batch.reverse();
            }
            batch.pop().map(|message| (frames_of(message, frames_max), (socket, stopped, batch)))
        })
        .fuse()
        .boxed()
    }

    fn stop(&self) {
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
