//! Options of the command line.

use clap::Parser;

use crate::subject::Subject;

/// Measures polywire and the bare engines side by side.
#[derive(Debug, Parser)]
#[command(name = "polywire-bench")]
pub(crate) struct Options {
    /// Rounds; the table shows the medians over them.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Duration of each measurement.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Calls in flight, each number a measurement of its own.
    #[arg(long, value_delimiter = ',', default_value = "1,64,512")]
    pub(crate) in_flight: Vec<usize>,
    /// Subjects by name; all if there are none.
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<Subject>,
}

impl Options {
    /// Returns the subjects in the order of the command line.
    pub(crate) fn subjects(&self) -> &[Subject] {
        if self.subjects.is_empty() { &Subject::ALL } else { &self.subjects }
    }

    /// Returns true if a subject needs RabbitMQ.
    pub(crate) fn needs_broker(&self) -> bool {
        self.subjects().iter().any(|subject| subject.needs_broker())
    }
}
