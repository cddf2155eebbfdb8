//! SUB.

use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::{Message, Socket, SocketType};
use polywire_core::{Result, Window};

use super::{HIGH_WATER_MARK, Intake, Port, failed, frames_of, open, options};
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::Ports;
use crate::wire::Frames;

pub(in crate::engine) struct Sub {
    port: Arc<Port>,
    intake: Intake,
    frames_max: usize,
}

impl Sub {
    pub(in crate::engine) fn open(settings: &Settings, window: Window) -> Result<Self> {
        let ahead = u32::try_from(window.messages()).unwrap_or(u32::MAX).min(HIGH_WATER_MARK);
        let port = Arc::new(Port::new(open(
            settings,
            SocketType::Sub,
            options(settings).recv_hwm(ahead),
        )?));
        Ok(Self { intake: Intake::new(port.clone()), port, frames_max: settings.limits.frames_max })
    }
}

impl Ports for Sub {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Sub for Sub {
    fn begin(&self, prefix: Bytes) -> BoxFuture<'_, Result<()>> {
        self.port.socket.subscribe(prefix).map(|begun| begun.map_err(failed)).boxed()
    }

    fn end(&self, prefix: Bytes) -> BoxFuture<'_, Result<()>> {
        self.port.socket.unsubscribe(prefix).map(|ended| ended.map_err(failed)).boxed()
    }

    fn arrivals(&self) -> BoxStream<'static, (Bytes, Frames)> {
        let frames_max = self.frames_max;
        let split = move |mut message: Message| {
            let first = message.pop_front().unwrap_or_default();
            (first, frames_of(message, frames_max))
        };
        self.intake.messages().map(split).boxed()
    }

    fn stop(&self) {
        self.intake.stop();
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        let socket = self.port.socket.clone();
        async move { self.port.settled(|| connected(socket.clone()).boxed()).await }.boxed()
    }

    fn publishers(&self) -> BoxFuture<'_, Result<usize>> {
        let connections = self.port.socket.connections();
        connections.map(|connections| Ok(connections.map_err(failed)?.len())).boxed()
    }
}

/// The endpoints where somebody is. `None` if the socket is closed.
async fn connected(socket: Socket) -> Option<Vec<String>> {
    let connections = socket.connections().await.ok()?;
    Some(connections.into_iter().map(|connection| connection.endpoint.to_string()).collect())
}
