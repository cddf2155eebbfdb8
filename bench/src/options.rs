//! Options of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::load::Load;
use crate::subject::Subject;

/// Measures polywire and the bare engines side by side.
#[derive(Debug, Parser)]
#[command(name = "polywire-bench")]
pub(crate) struct Options {
    /// Rounds; the table shows the medians over them.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Duration of each measurement, in seconds.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Calls in flight, each number a measurement of its own.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    in_flight: Vec<usize>,
    /// Sizes of bodies in bytes, each a measurement of its own.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    body: Vec<usize>,
    /// Three rounds of half a second.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// File for all figures.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// File for a page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The program for the subjects that are other libraries.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) peers: Option<PathBuf>,
    /// The subject that the others are compared with, in place of their bare engines.
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) against: Option<Subject>,
    /// Subjects by name; all if there are none.
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<Subject>,
}

/// Parses a duration of a measurement.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0.1 to 600".to_owned()),
    }
}

impl Options {
    /// Returns the number of rounds, and the duration of each measurement.
    ///
    /// The warm-up of 0.5 s before each measurement comes in addition.
    pub(crate) fn extent(&self) -> (u32, Duration) {
        match self.quick {
            true => (3, Duration::from_millis(500)),
            false => (self.rounds, Duration::from_secs_f64(self.seconds)),
        }
    }

    /// Returns the loads: each size of a body with each number of calls in flight.
    pub(crate) fn loads(&self) -> impl Iterator<Item = Load> + '_ {
        let load = |body| self.in_flight.iter().map(move |&in_flight| Load { body, in_flight });
        self.body.iter().flat_map(move |&body| load(body))
    }

    /// Returns the subjects in the order of the command line.
    ///
    /// Without names on the command line, returns all subjects of this program, and those of other
    /// libraries if their program is given.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let peers = self.peers.iter().flat_map(|_| Subject::PEERS);
        match self.subjects.is_empty() {
            true => Subject::OWN.into_iter().chain(peers).collect(),
            false => self.subjects.clone(),
        }
    }

    /// Returns true if a subject needs RabbitMQ.
    pub(crate) fn needs_broker(&self) -> bool {
        self.subjects().into_iter().any(Subject::needs_broker)
    }
}
