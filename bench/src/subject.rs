//! The subjects of a measurement.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::load::{Figures, Load};
use crate::{bare_lapin, bare_omq, bare_tcp, polywire_calls};

/// One way to echo bytes between two processes.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// TCP by hand: frames with a length and a call id, and a table of waiting calls.
    TcpFrames,
    /// The bare engine: one task keeps requests in flight, and waits for no particular reply.
    OmqLoop,
    /// The bare engine as a caller needs it: a task per call in flight, a table of waiting calls.
    OmqCalls,
    /// polywire over ZeroMQ, bytes without encoding.
    ZmqRaw,
    /// polywire over ZeroMQ, typed: MessagePack, a router and a client.
    ZmqTyped,
    /// polywire over ZeroMQ, typed, with calls in batches.
    ZmqBatched,
    /// The bare client of RabbitMQ with the protocol of polywire: durable, confirmed, acknowledged.
    LapinCalls,
    /// polywire over AMQP, bytes without encoding.
    AmqpRaw,
    /// polywire over AMQP, bytes without encoding, with direct replies.
    AmqpDirect,
    /// polywire over AMQP, typed.
    AmqpTyped,
    /// tarpc over TCP with bincode.
    Tarpc,
    /// tonic: gRPC over HTTP/2.
    Tonic,
    /// async-nats, over a NATS server.
    Nats,
}

impl Subject {
    /// The subjects of this program, in the order of the table.
    pub(crate) const OWN: [Self; 10] = [
        Self::TcpFrames,
        Self::OmqLoop,
        Self::OmqCalls,
        Self::ZmqRaw,
        Self::ZmqTyped,
        Self::ZmqBatched,
        Self::LapinCalls,
        Self::AmqpRaw,
        Self::AmqpDirect,
        Self::AmqpTyped,
    ];

    /// The subjects of the program for other libraries.
    pub(crate) const PEERS: [Self; 3] = [Self::Tarpc, Self::Tonic, Self::Nats];

    /// Returns the name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TcpFrames => "tcp-frames",
            Self::OmqLoop => "omq-loop",
            Self::OmqCalls => "omq-calls",
            Self::ZmqRaw => "zmq-raw",
            Self::ZmqTyped => "zmq-typed",
            Self::ZmqBatched => "zmq-batched",
            Self::LapinCalls => "lapin-calls",
            Self::AmqpRaw => "amqp-raw",
            Self::AmqpDirect => "amqp-direct",
            Self::AmqpTyped => "amqp-typed",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
            Self::Nats => "nats",
        }
    }

    /// Finds a subject of this program by name.
    ///
    /// # Errors
    ///
    /// If there is none; the error lists the names.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let known = || Self::OWN.map(Self::name).join(", ");
        Self::OWN
            .into_iter()
            .find(|subject| subject.name() == name)
            .with_context(|| format!("subjects: {}", known()))
    }

    /// Returns true if the subject needs RabbitMQ.
    pub(crate) fn needs_broker(self) -> bool {
        matches!(self, Self::LapinCalls | Self::AmqpRaw | Self::AmqpDirect | Self::AmqpTyped)
    }

    /// Returns true if the subject is part of the program for other libraries.
    pub(crate) fn is_peer(self) -> bool {
        Self::PEERS.contains(&self)
    }

    /// Returns the bare engine below this subject.
    ///
    /// A subject without polywire has a baseline as well. TCP and other libraries are compared with
    /// the engine of ZeroMQ.
    pub(crate) fn baseline(self) -> Self {
        if self.needs_broker() { Self::LapinCalls } else { Self::OmqCalls }
    }

    /// Prints the address of the server, and echoes until the process is killed.
    ///
    /// `url` is the URL of the broker, or a URL of ZeroMQ with a free port. The bare subjects
    /// choose their ports themselves.
    pub(crate) async fn serve(self, url: &str) -> Result<()> {
        match self {
            Self::TcpFrames => bare_tcp::serve().await,
            Self::OmqLoop | Self::OmqCalls => bare_omq::serve().await,
            Self::LapinCalls => bare_lapin::serve(url).await,
            Self::ZmqRaw | Self::AmqpRaw | Self::AmqpDirect => polywire_calls::serve_raw(url).await,
            Self::ZmqTyped | Self::AmqpTyped => polywire_calls::serve_typed(url).await,
            Self::ZmqBatched => polywire_calls::serve_typed(&format!("{url}?batch=auto")).await,
            Self::Tarpc | Self::Tonic | Self::Nats => bail!("another program serves {self:?}"),
        }
    }

    /// Measures calls to a server.
    ///
    /// `url` is the line that the server printed. The CPU time and the memory of the server are
    /// missing in the figures: only the caller of both processes knows them.
    pub(crate) async fn call(self, url: &str, load: Load, duration: Duration) -> Result<Figures> {
        use polywire_calls::{RawCaller, TypedCaller};

        match self {
            Self::TcpFrames => load.run(bare_tcp::TcpCaller::connect(url).await?, duration).await,
            Self::OmqLoop => bare_omq::flood(url, load, duration).await,
            Self::OmqCalls => load.run(bare_omq::OmqCaller::connect(url).await?, duration).await,
            Self::LapinCalls => {
                load.run(bare_lapin::LapinCaller::connect(url).await?, duration).await
            }
            Self::ZmqRaw | Self::AmqpRaw => {
                load.run(RawCaller::connect(url).await?, duration).await
            }
            Self::AmqpDirect => {
                let url = format!("{url}?reply_mode=direct");
                load.run(RawCaller::connect(&url).await?, duration).await
            }
            Self::ZmqTyped | Self::AmqpTyped => {
                load.run(TypedCaller::connect(url).await?, duration).await
            }
            Self::ZmqBatched => {
                let url = format!("{url}?batch=auto");
                load.run(TypedCaller::connect(&url).await?, duration).await
            }
            Self::Tarpc | Self::Tonic | Self::Nats => bail!("another program calls {self:?}"),
        }
    }
}
