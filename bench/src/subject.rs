//! What is measured.

use anyhow::{Context, Result};

use crate::load::{Figures, Load};
use crate::{bare_lapin, bare_omq, ours};

/// One way to echo bytes between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The bare engine, one task that keeps a number of requests in flight and waits for none of
    /// them.
    OmqLoop,
    /// The bare engine as a caller needs it: a task per call in flight, a table of who waits, a
    /// wake-up each.
    OmqCalls,
    /// Ours over ZeroMQ, bytes in and out.
    ZmqRaw,
    /// Ours over ZeroMQ, typed, with MessagePack, a router and a client.
    ZmqTyped,
    /// The bare client of RabbitMQ, speaking the protocol that ours speaks: durable, confirmed,
    /// acknowledged.
    LapinCalls,
    /// Ours over AMQP, bytes in and out.
    AmqpRaw,
    /// Ours over AMQP, bytes in and out, with direct replies.
    AmqpDirect,
    /// Ours over AMQP, typed.
    AmqpTyped,
}

impl Subject {
    pub(crate) const ALL: [Self; 8] = [
        Self::OmqLoop,
        Self::OmqCalls,
        Self::ZmqRaw,
        Self::ZmqTyped,
        Self::LapinCalls,
        Self::AmqpRaw,
        Self::AmqpDirect,
        Self::AmqpTyped,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OmqLoop => "omq-loop",
            Self::OmqCalls => "omq-calls",
            Self::ZmqRaw => "zmq-raw",
            Self::ZmqTyped => "zmq-typed",
            Self::LapinCalls => "lapin-calls",
            Self::AmqpRaw => "amqp-raw",
            Self::AmqpDirect => "amqp-direct",
            Self::AmqpTyped => "amqp-typed",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|subject| subject.name() == name)
            .with_context(|| format!("subjects: {}", known()))
    }

    pub(crate) fn needs_broker(self) -> bool {
        matches!(self, Self::LapinCalls | Self::AmqpRaw | Self::AmqpDirect | Self::AmqpTyped)
    }

    /// The bare engine that this one stands on.
    pub(crate) fn baseline(self) -> Self {
        if self.needs_broker() { Self::LapinCalls } else { Self::OmqCalls }
    }

    /// Echoes for ever, after printing where.
    pub(crate) async fn serve(self, url: &str) -> Result<()> {
        match self {
            Self::OmqLoop | Self::OmqCalls => bare_omq::serve().await,
            Self::LapinCalls => bare_lapin::serve(url).await,
            Self::ZmqRaw | Self::AmqpRaw | Self::AmqpDirect => ours::serve_raw(url).await,
            Self::ZmqTyped | Self::AmqpTyped => ours::serve_typed(url).await,
        }
    }

    pub(crate) async fn call(self, url: &str, load: Load) -> Result<Figures> {
        match self {
            Self::OmqLoop => bare_omq::flood(url, load).await,
            Self::OmqCalls => load.run(bare_omq::Caller::connect(url).await?).await,
            Self::LapinCalls => load.run(bare_lapin::Caller::connect(url).await?).await,
            Self::ZmqRaw | Self::AmqpRaw => load.run(ours::Raw::connect(url).await?).await,
            Self::AmqpDirect => {
                load.run(ours::Raw::connect(&format!("{url}?reply_mode=direct")).await?).await
            }
            Self::ZmqTyped | Self::AmqpTyped => load.run(ours::Typed::connect(url).await?).await,
        }
    }
}
