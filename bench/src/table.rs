//! The measurements of all rounds, and their medians as a table.

use std::collections::BTreeMap;
use std::fmt;

use crate::load::{Figures, Load};
use crate::subject::Subject;

/// Measurements by load and subject.
///
/// The measurements of one key are in the order of the rounds, so those of two subjects can be
/// paired.
pub(crate) struct Table {
    figures: BTreeMap<(Load, Subject), Vec<Figures>>,
    /// The subject that the others are compared with, in place of their bare engines.
    against: Option<Subject>,
}

/// The median of a figure over the rounds, with its smallest and largest value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns the spread of the values, or `None` without any.
    ///
    /// With an even number of values, the median is the upper one of the two in the middle.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Self { min: *values.first()?, median, max: *values.last()? })
    }
}

/// The medians of a subject under a load.
pub(crate) struct Row {
    pub(crate) load: Load,
    pub(crate) subject: Subject,
    pub(crate) calls_per_second: Spread,
    /// The ratio to the subject of comparison, round by round. `None` if that was not measured.
    pub(crate) of_bare: Option<Spread>,
    pub(crate) cpu_us_per_call: Spread,
    pub(crate) p50_us: Option<Spread>,
    pub(crate) p99_us: Option<Spread>,
    pub(crate) p999_us: Option<Spread>,
    /// The most memory that was resident in the server, in MiB.
    pub(crate) server_mib: Spread,
}

impl Table {
    /// Creates an empty table. Subjects are compared with `against`, or with their bare engines.
    pub(crate) fn new(against: Option<Subject>) -> Self {
        Self { figures: BTreeMap::new(), against }
    }

    /// Adds the measurement of a round.
    pub(crate) fn add(&mut self, subject: Subject, load: Load, figures: Figures) {
        self.figures.entry((load, subject)).or_default().push(figures);
    }

    /// Returns the name of what the subjects are compared with.
    pub(crate) fn compared_with(&self) -> &'static str {
        self.against.map_or("the bare engine", Subject::name)
    }

    /// Returns the medians, in the order of the loads.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.figures
            .iter()
            .filter_map(|(&(load, subject), figures)| self.row(load, subject, figures))
    }

    /// Returns the medians of one subject. The ratio to the subject of comparison is formed within
    /// each round, and the median is that of the ratios. `None` without a measurement.
    fn row(&self, load: Load, subject: Subject, figures: &[Figures]) -> Option<Row> {
        let spread = |of: fn(&Figures) -> f64| Spread::of(figures.iter().map(of));
        let latency = |of: fn(&Figures) -> Option<f64>| Spread::of(figures.iter().filter_map(of));
        let baseline = self.against.unwrap_or_else(|| subject.baseline());
        let bare = self.figures.get(&(load, baseline));
        let ratios = bare.into_iter().flat_map(|bare| {
            let pairs = figures.iter().zip(bare);
            pairs.map(|(own, bare)| own.calls_per_second() / bare.calls_per_second())
        });
        Some(Row {
            load,
            subject,
            calls_per_second: spread(Figures::calls_per_second)?,
            of_bare: Spread::of(ratios),
            cpu_us_per_call: spread(Figures::cpu_us_per_call)?,
            p50_us: latency(|figures| figures.latency.map(|latency| latency.p50)),
            p99_us: latency(|figures| figures.latency.map(|latency| latency.p99)),
            p999_us: latency(|figures| figures.latency.map(|latency| latency.p999)),
            server_mib: spread(|figures| figures.server_peak as f64 / f64::from(1 << 20))?,
        })
    }
}

/// Writes a table in Markdown, with the spread of the ratio in parentheses.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.compared_with();
        writeln!(
            f,
            "| bytes | in flight | subject | calls/s | of {of} | us of CPU a call | p50 us | p99 us \
             | MiB |\n|---|---|---|---|---|---|---|---|---|",
        )?;
        for row in self.rows() {
            let Load { body, in_flight } = row.load;
            let ratio = row.of_bare.map_or("-".to_owned(), |Spread { min, median, max }| {
                format!("{median:.2} ({min:.2} to {max:.2})")
            });
            let us =
                |of: Option<Spread>| of.map_or("-".to_owned(), |us| format!("{:.0}", us.median));
            writeln!(
                f,
                "| {body} | {in_flight} | {} | {:.0} | {ratio} | {:.1} | {} | {} | {:.0} |",
                row.subject.name(),
                row.calls_per_second.median,
                row.cpu_us_per_call.median,
                us(row.p50_us),
                us(row.p99_us),
                row.server_mib.median,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ratios_are_those_of_one_round() {
        let mut table = Table::new(None);
        let load = Load { body: 64, in_flight: 1 };
        let took = Duration::from_secs(1);
        for (own, bare) in [(10, 20), (30, 30), (10, 100)] {
            let figures =
                |calls| Figures { calls, took, cpu: took, latency: None, server_peak: 1 << 20 };
            table.add(Subject::ZmqRaw, load, figures(own));
            table.add(Subject::OmqCalls, load, figures(bare));
        }
        let row = table.rows().find(|row| row.subject == Subject::ZmqRaw);
        let ratio = row.and_then(|row| row.of_bare).expect("both were measured");
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.1, 0.5, 1.0));
        assert!(table.to_string().contains("| 64 | 1 | zmq-raw | 10 | 0.50 (0.10 to 1.00) |"));
    }
}
