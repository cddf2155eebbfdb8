//! The subjects of the measurements.
//!
//! A subject has one name: on the command line, in the arguments of both processes, in the tables
//! and in JSON.

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::trial::{Kind, Trial};

/// One way to exchange messages between two processes.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// TCP by hand: frames with a length and a call id, and a table of waiting calls.
    TcpFrames,
    /// The bare engine: one task keeps requests in flight, and waits for no particular reply.
    OmqLoop,
    /// The bare engine as a caller needs it: a task per call in flight, a table of waiting calls.
    OmqCalls,
    /// The same, on a thread of the engine's own, with its profile for throughput.
    OmqThread,
    /// The other bare engine, the crate zeromq.
    ZeromqCalls,
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
    /// polywire over AMQP, typed, with calls in batches.
    AmqpBatched,
    /// tarpc over TCP with bincode.
    Tarpc,
    /// tonic: gRPC over HTTP/2.
    Tonic,
    /// async-nats, over a NATS server.
    Nats,
    /// ruststream over its broker for lapin: direct replies, transient, without confirms.
    Ruststream,
    /// nameko over RabbitMQ, in Python.
    Nameko,
    /// aiozmq.rpc over ZeroMQ, in Python.
    Aiozmq,
    /// Jobs over the bare client of RabbitMQ.
    LapinJobs,
    /// Jobs of polywire over AMQP.
    AmqpJobs,
    /// Events over the bare engine: PUB and SUB.
    OmqEvents,
    /// The same, on a thread of the engine's own, with its profile for throughput.
    OmqThreadEvents,
    /// Events of polywire over ZeroMQ.
    ZmqEvents,
    /// Events over the bare client of RabbitMQ.
    LapinEvents,
    /// Events of polywire over AMQP.
    AmqpEvents,
}

/// The program that a subject is part of.
///
/// Each program takes the same arguments for its subjects, and prints the same lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// This program.
    Own,
    /// The program in `bench/peers`.
    Peers,
    /// A script in `bench/python`.
    ///
    /// The value is the file name.
    Python(&'static str),
}

impl Subject {
    /// All subjects, in the order of the tables.
    ///
    /// The place in this order also decides on the color in plots. A new variant in the middle
    /// changes the colors of those after it.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// Returns the name on the command line. Both processes of a measurement get this name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TcpFrames => "tcp-frames",
            Self::OmqLoop => "omq-loop",
            Self::OmqCalls => "omq-calls",
            Self::OmqThread => "omq-thread",
            Self::ZeromqCalls => "zeromq-calls",
            Self::ZmqRaw => "zmq-raw",
            Self::ZmqTyped => "zmq-typed",
            Self::ZmqBatched => "zmq-batched",
            Self::LapinCalls => "lapin-calls",
            Self::AmqpRaw => "amqp-raw",
            Self::AmqpDirect => "amqp-direct",
            Self::AmqpTyped => "amqp-typed",
            Self::AmqpBatched => "amqp-batched",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
            Self::Nats => "nats",
            Self::Ruststream => "ruststream",
            Self::Nameko => "nameko",
            Self::Aiozmq => "aiozmq",
            Self::LapinJobs => "lapin-jobs",
            Self::AmqpJobs => "amqp-jobs",
            Self::OmqEvents => "omq-events",
            Self::OmqThreadEvents => "omq-thread-events",
            Self::ZmqEvents => "zmq-events",
            Self::LapinEvents => "lapin-events",
            Self::AmqpEvents => "amqp-events",
        }
    }

    /// Finds a subject by name.
    ///
    /// # Errors
    ///
    /// If there is none; the error lists the names.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let known = || Self::all().map(Self::name).collect::<Vec<_>>().join(", ");
        Self::all()
            .find(|subject| subject.name() == name)
            .with_context(|| format!("subjects: {}", known()))
    }

    /// Returns the program that serves and calls.
    pub(crate) fn program(self) -> Program {
        match self {
            Self::Tarpc | Self::Tonic | Self::Nats | Self::Ruststream => Program::Peers,
            Self::Nameko => Program::Python("nameko_echo.py"),
            Self::Aiozmq => Program::Python("aiozmq_echo.py"),
            _ => Program::Own,
        }
    }

    /// Returns true if the subject needs RabbitMQ.
    ///
    /// These are the subjects that are compared with the bare client of RabbitMQ, ruststream and
    /// nameko included.
    pub(crate) fn needs_broker(self) -> bool {
        self.bare() == Self::LapinCalls || self.is_lapin_stream()
    }

    /// Returns true for jobs and events over RabbitMQ.
    fn is_lapin_stream(self) -> bool {
        matches!(self, Self::LapinJobs | Self::AmqpJobs | Self::LapinEvents | Self::AmqpEvents)
    }

    /// Returns the server that the subject starts beside this program, if there is one.
    ///
    /// The serving process of the subject starts that server, which ends with the process.
    pub(crate) fn needs_program(self) -> Option<&'static str> {
        (self == Self::Nats).then_some("nats-server")
    }

    /// Returns the bare engine below this subject, in the same set-up.
    ///
    /// A subject without polywire has one as well. TCP and libraries without RabbitMQ are compared
    /// with the engine of ZeroMQ.
    pub(crate) fn bare(self) -> Self {
        match self {
            Self::LapinCalls | Self::AmqpRaw | Self::AmqpDirect | Self::AmqpTyped => {
                Self::LapinCalls
            }
            Self::AmqpBatched | Self::Ruststream | Self::Nameko => Self::LapinCalls,
            Self::LapinJobs | Self::AmqpJobs => Self::LapinJobs,
            Self::OmqEvents | Self::OmqThreadEvents | Self::ZmqEvents => Self::OmqEvents,
            Self::LapinEvents | Self::AmqpEvents => Self::LapinEvents,
            _ => Self::OmqCalls,
        }
    }

    /// Returns the bare engine below this subject in each set-up, of which the best one counts.
    ///
    /// The engine that [`bare`](Self::bare) returns is always among them.
    pub(crate) fn bare_set_ups(self) -> &'static [Self] {
        match self.bare() {
            Self::LapinCalls => &[Self::LapinCalls],
            Self::LapinJobs => &[Self::LapinJobs],
            Self::LapinEvents => &[Self::LapinEvents],
            Self::OmqEvents => &[Self::OmqEvents, Self::OmqThreadEvents],
            _ => &[Self::OmqCalls, Self::OmqThread],
        }
    }

    /// Returns true if the subject can be measured so.
    ///
    /// A trial that is not supported is no failure: the plan leaves it out.
    ///
    /// `nats` holds no calls, since its server in `bench/peers` answers in every mode.
    pub(crate) fn supports(self, trial: &Trial) -> bool {
        let is_calls = !self.is_jobs() && !self.is_events();
        let has_kind = match trial.kind {
            Kind::Calls => is_calls,
            // The loop times no call. nameko's client for programs outside of a service has no
            // second thread that could keep a schedule.
            Kind::Open | Kind::Rate => is_calls && !matches!(self, Self::OmqLoop | Self::Nameko),
            Kind::First => is_calls && self != Self::OmqLoop,
            Kind::Idle => self.is_compared(),
            Kind::Held => self.is_compared() && self != Self::Nats,
            Kind::Jobs => self.is_jobs(),
            Kind::Events => self.is_events(),
            Kind::Subscriptions => matches!(self, Self::ZmqEvents | Self::AmqpEvents),
        };
        has_kind && trial.body <= self.body_max()
    }

    /// Returns true for one subject of each library, the typed one of polywire.
    ///
    /// Other subjects of calls take no part in `body`, `memory` and `idle`.
    pub(crate) fn is_compared(self) -> bool {
        matches!(
            self,
            Self::TcpFrames
                | Self::OmqCalls
                | Self::ZeromqCalls
                | Self::ZmqTyped
                | Self::LapinCalls
                | Self::AmqpTyped
                | Self::Tarpc
                | Self::Tonic
                | Self::Nats
        )
    }

    /// Returns true for subjects that push jobs, and make no calls.
    fn is_jobs(self) -> bool {
        matches!(self, Self::LapinJobs | Self::AmqpJobs)
    }

    /// Returns true for subjects that publish events, and make no calls.
    fn is_events(self) -> bool {
        matches!(
            self,
            Self::OmqEvents
                | Self::OmqThreadEvents
                | Self::ZmqEvents
                | Self::LapinEvents
                | Self::AmqpEvents
        )
    }

    /// Returns the largest body, in bytes.
    ///
    /// A trial with a larger body is left out of the plan.
    fn body_max(self) -> usize {
        match self {
            // The default of the NATS server.
            Self::Nats => 1 << 20,
            _ => 16 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for subject in Subject::all() {
            let name = subject.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(name.as_deref(), Some(subject.name()));
            assert_eq!(Subject::named(subject.name()).unwrap(), subject);
        }
        Subject::named("zmq").unwrap_err();
    }

    #[test]
    fn bare_engine_has_itself_among_its_set_ups_and_the_same_needs() {
        for subject in Subject::all() {
            let bare = subject.bare();
            assert!(subject.bare_set_ups().contains(&bare), "{subject:?}");
            assert_eq!(subject.needs_broker(), bare.needs_broker(), "{subject:?}");
        }
    }
}
