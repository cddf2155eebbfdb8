//! The transport: each endpoint handle is a link to the broker.

use std::io::{Error as IoError, ErrorKind::InvalidData};
use std::path::PathBuf;
use std::sync::Arc;

use polywire_core::transport::kit::{DeliveryQueue, LinkMonitor};
use polywire_core::transport::{Filters, Receiver, Sender, Subscription};
use polywire_core::{
    Address, Capabilities, Deadline, Error, Limits, Message, Result, Transport, Window,
};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::link::{Link, Outgoing, carry, closed, lost};
use super::wire::{Frame, Kind, PATIENCE, read, write};

/// The transport of a process.
pub(crate) struct Unix {
    broker: PathBuf,
    monitor: LinkMonitor,
}

/// The most messages that wait to be written. Others wait for room.
const UNWRITTEN_MAX: usize = 1024;

impl Unix {
    /// A transport to the broker with this socket.
    pub(crate) fn new(broker: PathBuf) -> Self {
        Self { broker, monitor: LinkMonitor::new() }
    }

    async fn open(
        &self,
        kind: Kind,
        service: &Address,
        window: Window,
    ) -> Result<(Sender, Receiver)> {
        let watch = self.monitor.watch();
        if self.monitor.is_closing() {
            return Err(closed());
        }
        let connecting = self.connect(kind, service, window);
        let connected = timeout(PATIENCE, connecting).await.unwrap_or_else(|late| Err(late.into()));
        let unreachable = |error: IoError| {
            lost().with("broker", self.broker.display()).with_source(error).unsent()
        };
        let stream = connected.map_err(unreachable)?;
        let (frames, queued) = unbounded_channel();
        let room = Arc::new(Semaphore::new(UNWRITTEN_MAX));
        let link = Arc::new(Link {
            frames,
            room,
            monitor: self.monitor.clone(),
            unanswered: Default::default(),
        });
        let stopped = link.clone();
        let (arrived, deliveries) =
            DeliveryQueue::new(&self.monitor, move || stopped.queue(Kind::Stop, 0));
        tokio::spawn(carry(stream, Arc::downgrade(&link), watch, arrived, queued));
        Ok((Sender::new(Outgoing(link)), Receiver::new(deliveries)))
    }

    /// Connects to the broker, and waits until it has opened the endpoint handle.
    async fn connect(
        &self,
        kind: Kind,
        service: &Address,
        window: Window,
    ) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.broker).await?;
        let message = Message::request(service.clone(), Deadline::after(PATIENCE));
        write(&mut stream, &Frame { kind, number: window.messages() as u64, message }).await?;
        if read(&mut stream).await?.kind == Kind::Opened {
            Ok(stream)
        } else {
            Err(InvalidData.into())
        }
    }
}

impl Transport for Unix {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(Limits::default().body_max)
            .with_settlement(true)
            .with_attempts(true)
            .with_unroutable_at_once(true)
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.open(Kind::Open(false), service, Window::default()).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.open(Kind::Open(true), service, window).await
    }

    async fn pusher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pipeline"))
    }

    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        Err(Error::unsupported("pipeline"))
    }

    async fn publisher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pubsub"))
    }

    async fn subscriber(&self, _: &Address, _: Subscription) -> Result<(Receiver, Filters)> {
        Err(Error::unsupported("pubsub"))
    }

    async fn close(&self) -> Result<()> {
        self.monitor.close();
        // Queued frames are still written, unless the broker does not read.
        let _ = timeout(PATIENCE, self.monitor.unwatched()).await;
        Ok(())
    }
}
