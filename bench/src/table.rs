//! The measurements of all rounds, and their medians.

use std::collections::BTreeMap;

use crate::figures::{Figures, Metric};
use crate::subject::Subject;
use crate::trial::{Kind, Trial};

/// Measurements by trial and subject, and by round within them.
#[derive(Default)]
pub(crate) struct Table {
    /// Measurements that succeeded.
    figures: BTreeMap<(Trial, Subject), BTreeMap<u32, Figures>>,
    /// Measurements that failed: subject, trial and error.
    pub(crate) failures: Vec<(Subject, Trial, String)>,
    /// The subject that the others are compared with, in place of their bare engines.
    against: Option<Subject>,
}

/// The median of a figure over the rounds, with its smallest and largest value.
///
/// All three have the unit of the figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns the spread of the values, or `None` without any.
    ///
    /// With an even number of values, the median is the upper one of the two in the middle.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Self { min: *values.first()?, median, max: *values.last()? })
    }
}

/// The medians of a subject in a trial.
pub(crate) struct Row {
    pub(crate) trial: Trial,
    pub(crate) subject: Subject,
    /// Rounds in which the trial was made.
    pub(crate) rounds: usize,
    /// The quantities that were measured.
    values: BTreeMap<Metric, Spread>,
    /// The ratio to the bare engine in the same set-up, or to the subject of comparison, round by
    /// round. `None` if that was not measured. See [`compared`].
    pub(crate) of_bare: Option<Spread>,
    /// The ratio to the best set-up of the bare engine in each round. `None` with a subject of
    /// comparison.
    pub(crate) of_best: Option<Spread>,
    /// The distribution of latencies: for each share of the calls, the median over the rounds.
    pub(crate) latency: Vec<(f64, f64)>,
}

impl Row {
    /// Returns a quantity, or `None` if it was not measured.
    pub(crate) fn get(&self, metric: Metric) -> Option<Spread> {
        self.values.get(&metric).copied()
    }
}

/// Returns the quantity whose ratio is formed, and true if more of it is better.
///
/// Where less is better, a ratio below 1 is better.
pub(crate) fn compared(kind: Kind) -> (Metric, bool) {
    match kind {
        Kind::Calls | Kind::Jobs | Kind::Events => (Metric::Rate, true),
        Kind::Open | Kind::Rate => (Metric::P99Us, false),
        Kind::Held => (Metric::ClientBytes, false),
        Kind::Idle | Kind::Subscriptions => (Metric::ServerIdleUs, false),
        Kind::First => (Metric::FirstReplyMs, false),
    }
}

impl Table {
    /// Creates an empty table. Subjects are compared with `against`, or with their bare engines.
    pub(crate) fn new(against: Option<Subject>) -> Self {
        Self { against, ..Self::default() }
    }

    /// Adds the measurement of a round.
    ///
    /// Replaces a measurement of the same round, as that of a limit by the step of the same calls.
    pub(crate) fn add(&mut self, round: u32, subject: Subject, trial: Trial, figures: Figures) {
        self.figures.entry((trial, subject)).or_default().insert(round, figures);
    }

    /// Returns the rate of a subject in a trial of a round, if it was measured.
    pub(crate) fn rate(&self, round: u32, subject: Subject, trial: Trial) -> Option<f64> {
        self.figures.get(&(trial, subject))?.get(&round)?.get(Metric::Rate)
    }

    /// Returns the name of what the subjects are compared with.
    pub(crate) fn compared_with(&self) -> &'static str {
        self.against.map_or("the bare engine", Subject::name)
    }

    /// Returns the medians of a kind, in the order of the trials.
    ///
    /// Trials ascend by the size of the body, then by their numbers. The subjects of a trial have
    /// the order of the variants of `Subject`.
    pub(crate) fn rows(&self, kind: Kind) -> Vec<Row> {
        let of_kind = self.figures.iter().filter(|((trial, _), _)| trial.kind == kind);
        of_kind.map(|(&(trial, subject), rounds)| self.row(trial, subject, rounds)).collect()
    }

    /// Forms the row of a subject: each quantity over the rounds in which it was measured.
    fn row(&self, trial: Trial, subject: Subject, rounds: &BTreeMap<u32, Figures>) -> Row {
        let all = || rounds.values();
        let spread = |metric| Spread::of(all().filter_map(move |figures| figures.get(metric)));
        let values = Metric::ALL.into_iter().filter_map(|metric| Some((metric, spread(metric)?)));
        let (metric, _) = compared(trial.kind);
        let bare = self.against.unwrap_or_else(|| subject.bare());
        let best: &[Subject] = match self.against {
            Some(_) => &[],
            None => subject.bare_set_ups(),
        };
        Row {
            trial,
            subject,
            rounds: rounds.len(),
            values: values.collect(),
            of_bare: self.ratio(trial, metric, subject, &[bare]),
            of_best: self.ratio(trial, metric, subject, best),
            latency: distribution(rounds),
        }
    }

    /// Returns the ratio of a quantity of a subject to the best of others, round by round; `None`
    /// if there is no round in which both were measured.
    ///
    /// The best of the others is the largest rate, or the least value of any other quantity. A
    /// round in which either side failed has no ratio.
    pub(crate) fn ratio(
        &self,
        trial: Trial,
        metric: Metric,
        subject: Subject,
        others: &[Subject],
    ) -> Option<Spread> {
        let more_is_better = compared(trial.kind).1;
        let rounds = self.figures.get(&(trial, subject))?;
        let ratios = rounds.iter().filter_map(|(round, figures)| {
            let of = |other: &Subject| self.figures.get(&(trial, *other))?.get(round)?.get(metric);
            let best = others.iter().filter_map(of);
            let best = match more_is_better && metric == Metric::Rate {
                true => best.reduce(f64::max),
                false => best.reduce(f64::min),
            };
            Some(figures.get(metric)? / best?)
        });
        Spread::of(ratios.filter(|ratio| ratio.is_finite()))
    }

    /// Returns a quantity of a subject over the rounds.
    pub(crate) fn value(&self, trial: Trial, metric: Metric, subject: Subject) -> Option<Spread> {
        let rounds = self.figures.get(&(trial, subject))?;
        Spread::of(rounds.values().filter_map(|figures| figures.get(metric)))
    }
}

/// Returns the median of each point of the distributions of all rounds.
///
/// The shares are those of the first round. Others of a later round are left out.
fn distribution(rounds: &BTreeMap<u32, Figures>) -> Vec<(f64, f64)> {
    let shares = rounds.values().next().map(|figures| figures.latency.as_slice());
    let median = |share: f64| {
        let points = rounds.values().flat_map(|figures| &figures.latency);
        let of_share = points.filter(move |point| point.0 == share).map(|point| point.1);
        Some((share, Spread::of(of_share)?.median))
    };
    shares.unwrap_or_default().iter().filter_map(|point| median(point.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(metric: Metric, value: f64) -> Figures {
        let mut figures = Figures::default();
        figures.set(metric, value);
        figures
    }

    #[test]
    fn ratios_are_those_of_one_round_and_to_the_best_set_up() {
        let mut table = Table::new(None);
        let trial = Trial { kind: Kind::Calls, body: 64, number: 1 };
        for (round, own, bare, best) in [(1, 10.0, 20.0, 40.0), (2, 30.0, 30.0, 5.0)] {
            for (subject, rate) in
                [(Subject::ZmqRaw, own), (Subject::OmqCalls, bare), (Subject::OmqThread, best)]
            {
                table.add(round, subject, trial, figures(Metric::Rate, rate));
            }
        }
        // A round without the bare engine has no ratio.
        table.add(3, Subject::ZmqRaw, trial, figures(Metric::Rate, 1.0));
        let rows = table.rows(Kind::Calls);
        let row = rows.iter().find(|row| row.subject == Subject::ZmqRaw).expect("measured");
        assert_eq!(row.of_bare, Some(Spread { min: 0.5, median: 1.0, max: 1.0 }));
        assert_eq!(row.of_best, Some(Spread { min: 0.25, median: 1.0, max: 1.0 }));
        assert_eq!(row.get(Metric::Rate).map(|rate| rate.median), Some(10.0));
        assert_eq!(table.rate(2, Subject::ZmqRaw, trial), Some(30.0));
    }

    #[test]
    fn least_memory_is_best() {
        let mut table = Table::new(None);
        let trial = Trial { kind: Kind::Held, body: 64, number: 1 };
        for (subject, bytes) in
            [(Subject::ZmqRaw, 40.0), (Subject::OmqCalls, 10.0), (Subject::OmqThread, 20.0)]
        {
            table.add(1, subject, trial, figures(Metric::ClientBytes, bytes));
        }
        let ratio = table.ratio(
            trial,
            Metric::ClientBytes,
            Subject::ZmqRaw,
            Subject::ZmqRaw.bare_set_ups(),
        );
        assert_eq!(ratio.map(|ratio| ratio.median), Some(4.0));
    }

    #[test]
    fn distribution_is_the_median_of_each_share() {
        let of = |us| {
            let mut figures = Figures::default();
            figures.latency = vec![(0.5, us), (1.0, 2.0 * us)];
            figures
        };
        let rounds = [(1, of(1.0)), (2, of(9.0)), (3, of(3.0))].into();
        assert_eq!(distribution(&rounds), [(0.5, 3.0), (1.0, 6.0)]);
    }
}
