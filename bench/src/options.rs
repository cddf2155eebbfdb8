//! Options of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use crate::process::Times;
use crate::programs::Programs;
use crate::subject::Subject;

/// Measures polywire beside the bare engines and other libraries.
#[derive(Debug, Parser)]
#[command(name = "polywire-bench")]
pub(crate) struct Options {
    /// Rounds; the tables show the medians over them.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// The parts to measure; all if there are none.
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    part: Vec<Part>,
    /// Calls in flight of the part `calls`, each number a measurement of its own.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    #[arg(value_parser = whole(1, IN_FLIGHT_MAX))]
    pub(crate) in_flight: Vec<usize>,
    /// Sizes of bodies of the part `calls` in bytes, each a measurement of its own.
    #[arg(long, value_delimiter = ',', default_value = "64,4096", value_parser = whole(0, BODY_MAX))]
    pub(crate) body: Vec<usize>,
    /// Rates of the part `open` in calls a second, in place of 50 and 80 % of the limit.
    #[arg(long, value_delimiter = ',', value_parser = whole(1, RATE_MAX))]
    pub(crate) rate: Vec<usize>,
    /// Two rounds of 0.3 s, and most parts in the first round alone: under five minutes.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    pub(crate) quick: bool,
    /// File for all figures.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// File for a page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The program for the subjects that are other libraries.
    #[arg(long, value_name = "PROGRAM")]
    peers: Option<PathBuf>,
    /// The interpreter for the subjects in Python.
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// The subject that the others are compared with, in place of their bare engines.
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) against: Option<Subject>,
    /// Subjects by name; all that can run here if there are none.
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<Subject>,
}

/// A part of the measurements.
#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(crate) enum Part {
    /// Calls in a closed loop, over the calls in flight.
    Calls,
    /// Calls in an open loop, at shares of the limit or at given rates.
    Open,
    /// Calls in a closed loop, over the size of the body.
    Body,
    /// Acknowledged jobs.
    Jobs,
    /// Events to 1, 10 and 100 subscribers.
    Events,
    /// Memory over the calls in flight.
    Memory,
    /// Processor time without messages.
    Idle,
    /// Time from the start of a process to its first reply.
    Start,
}

/// The calls in flight that a client of polywire allows by default.
const IN_FLIGHT_MAX: u64 = 1 << 17;
/// The largest body of a frame over TCP, in bytes. Some subjects have lower bounds.
const BODY_MAX: u64 = 16 << 20;
/// The largest rate of an open loop, in calls a second.
const RATE_MAX: u64 = 10_000_000;

/// Returns a parser of whole numbers from `min` to `max`.
fn whole(min: u64, max: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(min..=max)
}

/// Parses a duration of a measurement, in seconds: 0.1 to 600, also with a fraction.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0.1 to 600".to_owned()),
    }
}

impl Options {
    /// Returns the number of rounds.
    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 2 } else { self.rounds }
    }

    /// Returns the times of a measurement.
    pub(crate) fn times(&self) -> Times {
        let (warm_up, seconds) = if self.quick { (0.2, 0.3) } else { (0.5, self.seconds) };
        Times {
            warm_up: Duration::from_secs_f64(warm_up),
            duration: Duration::from_secs_f64(seconds),
        }
    }

    /// Returns the parts, each once.
    pub(crate) fn parts(&self) -> Vec<Part> {
        match self.part.is_empty() {
            true => Part::value_variants().to_vec(),
            false => distinct(&self.part),
        }
    }

    /// Returns the programs of other subjects.
    pub(crate) fn programs(&self) -> Programs {
        Programs { peers: self.peers.clone(), python: self.python.clone() }
    }

    /// Returns the subjects in the order of the command line, each once.
    ///
    /// Without names on the command line, returns all subjects. A subject that cannot run here is
    /// left out then, and a line on standard error says so.
    ///
    /// # Errors
    ///
    /// If a subject is named that cannot run here.
    pub(crate) fn subjects(
        &self,
        missing: impl Fn(Subject) -> Option<String>,
    ) -> anyhow::Result<Vec<Subject>> {
        let named = distinct(&self.subjects);
        for subject in &named {
            if let Some(reason) = missing(*subject) {
                anyhow::bail!("cannot measure {}: {reason}", subject.name());
            }
        }
        if !named.is_empty() {
            return Ok(named);
        }
        let can_run = |subject: &Subject| match missing(*subject) {
            Some(reason) => {
                eprintln!("not run: {}: {reason}", subject.name());
                false
            }
            None => true,
        };
        Ok(Subject::all().filter(can_run).collect())
    }
}

/// Returns the values without repetitions, in their order.
///
/// Two measurements of one subject under one load would be taken for two rounds.
pub(crate) fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut distinct = Vec::with_capacity(values.len());
    for value in values {
        if !distinct.contains(value) {
            distinct.push(*value);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["polywire-bench"], arguments].concat())
    }

    #[test]
    fn numbers_without_a_measurement_are_refused() {
        for (option, number) in [
            ("--in-flight", "0"),
            ("--in-flight", "1,0"),
            ("--in-flight", "131073"),
            ("--body", "16777217"),
            ("--rate", "0"),
            ("--rounds", "0"),
            ("--seconds", "0"),
            ("--seconds", "nan"),
            ("--part", "all"),
        ] {
            let error = parse(&[option, number]).unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn repeated_subject_is_measured_once() {
        let options = parse(&["zmq-raw", "omq-calls", "zmq-raw"]).unwrap();
        let subjects = options.subjects(|_| None).unwrap();
        assert_eq!(subjects, [Subject::ZmqRaw, Subject::OmqCalls]);
    }

    #[test]
    fn subject_that_cannot_run_is_left_out_unless_it_is_named() {
        let without_nats = |subject| (subject == Subject::Nats).then(|| "not here".to_owned());
        let some = parse(&[]).unwrap().subjects(without_nats).unwrap();
        assert!(some.contains(&Subject::Tonic) && !some.contains(&Subject::Nats), "{some:?}");
        let error = parse(&["nats"]).unwrap().subjects(without_nats).unwrap_err();
        assert!(error.to_string().contains("cannot measure nats: not here"), "{error}");
    }
}
