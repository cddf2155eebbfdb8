//! ROUTER.

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::{Message, SocketType, TrySendError};
use polywire_core::{Result, Sending};

use super::{Port, failed, frames_of, message_of, open, options, received};
use crate::config::Settings;
use crate::engine::Ports;
use crate::error::closed;
use crate::plan::Change;
use crate::wire::Frames;

pub(in crate::engine) struct Router {
    port: Port,
    frames_max: usize,
}

impl Router {
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let port = Port::new(open(settings, SocketType::Router, options(settings))?);
        Ok(Self { port, frames_max: settings.limits.frames_max })
    }
}

impl Ports for Router {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Router for Router {
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        let socket = &self.port.socket;
        match socket.try_send_to(&peer, message_of(frames)) {
            Ok(()) => Sending::ready(Ok(())),
            Err(TrySendError::Full(message)) => {
                Sending::later(async move { socket.send_to(peer, message).await.map_err(failed) })
            }
            Err(TrySendError::Closed) => Sending::ready(Err(closed())),
            Err(TrySendError::Error(error)) => Sending::ready(Err(failed(error))),
        }
    }

    fn requests(&self) -> BoxStream<'static, (Bytes, Frames)> {
        let frames_max = self.frames_max;
        let identified = move |mut message: Message| async move {
            let identity = message.pop_identity()?;
            Some((identity.to_bytes(), frames_of(message, frames_max)))
        };
        received(self.port.socket.clone()).filter_map(identified).boxed()
    }
}
