//! The figures of one measurement.
//!
//! A measuring process prints them as one line of JSON, and this program reads that line.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};

/// A measured quantity. The unit is part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Calls or deliveries that ended in a second.
    ///
    /// Deliveries are those of all consumers together.
    Rate,
    /// Processor time of both processes for one call or delivery, in microseconds.
    CpuUs,
    /// The part of the calling or receiving process.
    ///
    /// Processor time is that of all threads, those of an engine included.
    ClientCpuUs,
    /// The part of the serving or sending process.
    ///
    /// A broker is no part of it, also where the server has started the broker.
    ServerCpuUs,
    /// Quantiles of the latency, in microseconds.
    P50Us,
    /// Latency that 99 % of the timed calls did not exceed, in microseconds.
    P99Us,
    /// Latency that 99.9 % of the timed calls did not exceed, in microseconds.
    P999Us,
    /// The delay of the load generator behind its schedule, in microseconds: 99 % are within.
    ///
    /// The delay is part of the latencies.
    ScheduleP99Us,
    /// The share of calls that were not sent in time, or of events that a subscriber missed.
    ///
    /// The share is between 0 and 1.
    Missed,
    /// Memory of the calling process for one call in flight, in bytes.
    ClientBytes,
    /// Memory of the server for one call in flight, in bytes.
    ServerBytes,
    /// Processor time of an idle process in one second, in microseconds.
    ///
    /// One busy core is 1,000,000.
    ClientIdleUs,
    /// The same for the server, without a broker.
    ServerIdleUs,
    /// Time from the start of the process to its first reply, in milliseconds.
    FirstReplyMs,
    /// The most memory that was resident, in MiB.
    ///
    /// The client reads the value right before it prints its line.
    ClientMib,
    /// The same for the server, read when the client has ended.
    ServerMib,
}

impl Metric {
    /// All metrics, in the order of the tables.
    pub(crate) const ALL: [Self; 16] = [
        Self::Rate,
        Self::CpuUs,
        Self::ClientCpuUs,
        Self::ServerCpuUs,
        Self::P50Us,
        Self::P99Us,
        Self::P999Us,
        Self::ScheduleP99Us,
        Self::Missed,
        Self::ClientBytes,
        Self::ServerBytes,
        Self::ClientIdleUs,
        Self::ServerIdleUs,
        Self::FirstReplyMs,
        Self::ClientMib,
        Self::ServerMib,
    ];

    /// Returns the name in JSON.
    ///
    /// Programs in other languages print the same names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "per_second",
            Self::CpuUs => "cpu_us",
            Self::ClientCpuUs => "client_cpu_us",
            Self::ServerCpuUs => "server_cpu_us",
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::P999Us => "p999_us",
            Self::ScheduleP99Us => "schedule_p99_us",
            Self::Missed => "missed",
            Self::ClientBytes => "client_bytes_per_call",
            Self::ServerBytes => "server_bytes_per_call",
            Self::ClientIdleUs => "client_idle_us_per_second",
            Self::ServerIdleUs => "server_idle_us_per_second",
            Self::FirstReplyMs => "first_reply_ms",
            Self::ClientMib => "client_mib",
            Self::ServerMib => "server_mib",
        }
    }
}

/// The figures of one measurement: a number for each quantity that was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Finite numbers alone, in the order of the metrics.
    values: BTreeMap<Metric, f64>,
    /// Points of the distribution of latencies: a share of the calls, and the latency in
    /// microseconds that this share did not exceed. Empty without latencies.
    ///
    /// The shares ascend up to 1, whose latency is the largest one.
    pub(crate) latency: Vec<(f64, f64)>,
}

impl Figures {
    /// Sets a quantity. A value that is no number, or infinite, is left out.
    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        if value.is_finite() {
            self.values.insert(metric, value);
        }
    }

    /// Returns a quantity, or `None` if it was not measured.
    pub(crate) fn get(&self, metric: Metric) -> Option<f64> {
        self.values.get(&metric).copied()
    }

    /// Prints the figures as the last line of a measuring process: one JSON object.
    ///
    /// The parent reads one line of the process: nothing may be printed before.
    ///
    /// # Errors
    ///
    /// If standard output is closed.
    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let mut output = std::io::stdout().lock();
        writeln!(output, "{}", self.to_json())?;
        Ok(output.flush()?)
    }

    /// Returns the figures as a JSON object.
    ///
    /// `values` has a number for each measured quantity, by its name. `latency_us` has the points
    /// of the distribution as pairs.
    pub(crate) fn to_json(&self) -> Value {
        let measured = Metric::ALL.into_iter().filter_map(|metric| {
            self.get(metric).map(|value| (metric.name().to_owned(), json!(value)))
        });
        let values: serde_json::Map<_, _> = measured.collect();
        json!({ "values": values, "latency_us": self.latency })
    }
}
