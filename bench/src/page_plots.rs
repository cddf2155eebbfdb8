//! The plots of the page.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::figures::Metric;
use crate::plot::{Plot, Series};
use crate::subject::Subject;
use crate::table::{Row, Table};
use crate::trial::Kind;

/// A figure of a row that is plotted, if it was measured.
type Value = fn(&Row) -> Option<f64>;

/// Figures over the calls in flight: title, label of the axis, value.
const OVER_CALLS: [(&str, &str, Value); 4] = [
    ("throughput", "calls/s", |row| median(row, Metric::Rate)),
    ("processor time", "us of CPU a call, both sides", |row| median(row, Metric::CpuUs)),
    ("latency, median", "us", |row| median(row, Metric::P50Us)),
    ("latency, 99 % within", "us", |row| median(row, Metric::P99Us)),
];
/// Figures over the size of the body.
const OVER_BODIES: [(&str, &str, Value); 2] = [
    ("cost", "us of CPU a call, both sides", |row| median(row, Metric::CpuUs)),
    ("latency, median", "us", |row| median(row, Metric::P50Us)),
];
/// Figures over the calls in flight that the server holds.
const OVER_HELD: [(&str, &str, Value); 2] = [
    ("memory of the client", "MiB for all calls", |row| mib(row, Metric::ClientBytes)),
    ("memory of the server", "MiB for all calls", |row| mib(row, Metric::ServerBytes)),
];
/// Figures over the number of subscribers.
const OVER_SUBSCRIBERS: [(&str, &str, Value); 2] = [
    ("deliveries", "deliveries/s, all subscribers", |row| median(row, Metric::Rate)),
    ("processor time", "us of CPU a delivery", |row| median(row, Metric::CpuUs)),
];

/// Returns the median over the rounds, in the unit of the metric.
fn median(row: &Row, metric: Metric) -> Option<f64> {
    Some(row.get(metric)?.median)
}

/// Returns the memory of all calls of a row together.
///
/// The metric has to be in bytes a call. The result is in MiB.
fn mib(row: &Row, metric: Metric) -> Option<f64> {
    Some(median(row, metric)? * row.trial.number as f64 / f64::from(1 << 20))
}

/// The two groups of subjects, which have plots of their own: without RabbitMQ, and over it.
const GROUPS: [(&str, bool); 2] = [("without RabbitMQ", false), ("over RabbitMQ", true)];

/// Returns all plots that have several points.
pub(crate) fn plots(table: &Table) -> Markup {
    let (calls, held) = (table.rows(Kind::Calls), table.rows(Kind::Held));
    let events = table.rows(Kind::Events);
    let bodies: BTreeSet<_> = calls.iter().map(|row| row.trial.body).collect();
    let lone: Vec<_> = calls.iter().filter(|row| row.trial.number == 1).collect();
    html! {
        @for body in bodies {
            @let rows: Vec<_> = calls.iter().filter(|row| row.trial.body == body).collect();
            @let heading = format!("Calls in flight, {body} bytes");
            (section(&heading, "calls in flight", &OVER_CALLS, &rows, by_number))
        }
        (distributions(&calls, "calls in flight"))
        (distributions(&table.rows(Kind::Open), "% of the limit, from the scheduled time"))
        (distributions(&table.rows(Kind::Rate), "calls/s, from the scheduled time"))
        (section(
            "Size of the body, one call in flight",
            "bytes of the body; an empty one is drawn at 1",
            &OVER_BODIES,
            &lone,
            |row| row.trial.body.max(1) as f64,
        ))
        (section(
            "Memory of calls in flight",
            "calls in flight",
            &OVER_HELD,
            &held.iter().collect::<Vec<_>>(),
            by_number,
        ))
        (section(
            "Events",
            "subscribers",
            &OVER_SUBSCRIBERS,
            &events.iter().collect::<Vec<_>>(),
            by_number,
        ))
    }
}

/// Returns the number of the trial, as a place on the horizontal axis.
fn by_number(row: &Row) -> f64 {
    row.trial.number as f64
}

/// Draws each figure for both groups of subjects. Without two places on the horizontal axis, draws
/// nothing.
///
/// Places are compared as whole numbers.
fn section(
    heading: &str,
    x_label: &'static str,
    plotted: &[(&str, &'static str, Value)],
    rows: &[&Row],
    x: fn(&Row) -> f64,
) -> Markup {
    let places: BTreeSet<_> = rows.iter().map(|row| x(row) as u64).collect();
    html! {
        @if places.len() > 1 {
            h2 { (heading) }
            @for (group, needs_broker) in GROUPS {
                @for &(name, y, value) in plotted {
                    (Plot {
                        title: format!("{name}, {group}"),
                        x: x_label,
                        y,
                        series: series(rows, needs_broker, |row| {
                            value(row).map(|value| (x(row), value)).into_iter().collect()
                        }),
                    }.draw())
                }
            }
        }
    }
}

/// Draws the distribution of latencies of each trial.
///
/// `of` goes on with the title after the number of the trial. A size of body with one trial has no
/// plot.
fn distributions(rows: &[Row], of: &str) -> Markup {
    let with_points: Vec<_> = rows.iter().filter(|row| !row.latency.is_empty()).collect();
    let trials: BTreeSet<_> = with_points.iter().map(|row| row.trial).collect();
    // The sizes of the part `body` have one call in flight each, and plots of their own.
    let several = |body| trials.iter().filter(|trial| trial.body == body).count() > 1;
    html! {
        @if !trials.is_empty() {
            h2 { "Distribution of latencies" }
            @for trial in trials.iter().filter(|trial| several(trial.body)) {
                @let rows: Vec<_> =
                    with_points.iter().copied().filter(|row| row.trial == *trial).collect();
                @for (group, needs_broker) in GROUPS {
                    (Plot {
                        title: format!(
                            "latency, {} {of}, {} bytes, {group}",
                            trial.number, trial.body
                        ),
                        x: "one call of so many takes longer",
                        y: "us",
                        series: series(&rows, needs_broker, slower_calls),
                    }.draw())
                }
            }
        }
    }
}

/// Returns the distribution of a row as points: a number of calls, one of which takes longer, and
/// the latency. 100 calls stand for the latency that 99 % of them do not exceed.
///
/// The largest latency has no point, since no call takes longer.
fn slower_calls(row: &Row) -> Vec<(f64, f64)> {
    let points = row.latency.iter().filter(|(share, _)| *share < 1.0);
    points.map(|(share, us)| (1.0 / (1.0 - share), *us)).collect()
}

/// Returns a line for each subject of a group.
///
/// A subject without a figure has no line, and each subject keeps its look in all plots. The points
/// keep the order of the rows.
fn series(
    rows: &[&Row],
    needs_broker: bool,
    points: impl Fn(&Row) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let of_group = |(_, subject): &(usize, Subject)| subject.needs_broker() == needs_broker;
    let lines = Subject::all().enumerate().filter(of_group).map(|(place, subject)| {
        let own = rows.iter().filter(|row| row.subject == subject);
        let points = own.flat_map(|row| points(row)).collect();
        Series { name: subject.name(), place, points }
    });
    lines.filter(|series: &Series| !series.points.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;
    use crate::trial::Trial;

    #[test]
    fn subject_keeps_its_place_where_another_one_has_no_figure() {
        let mut table = Table::new(None);
        let trial = Trial { kind: Kind::Calls, body: 64, number: 1 };
        let mut figures = Figures::default();
        figures.set(Metric::P50Us, 1.0);
        table.add(1, Subject::OmqLoop, trial, Figures::default());
        table.add(1, Subject::Nats, trial, figures);
        let rows = table.rows(Kind::Calls);
        let rows: Vec<_> = rows.iter().collect();
        let point = |row: &Row| Vec::from_iter(median(row, Metric::P50Us).map(|us| (1.0, us)));
        let lines = series(&rows, false, point);
        let place = Subject::all().position(|subject| subject == Subject::Nats);
        assert_eq!(lines.first().map(|line| (line.name, line.place)), Some("nats").zip(place));
        assert_eq!(lines.len(), 1);
        assert!(series(&rows, true, point).is_empty());
    }

    #[test]
    fn distribution_has_a_point_for_each_share() {
        let mut table = Table::new(None);
        for number in [1, 64] {
            let trial = Trial { kind: Kind::Calls, body: 64, number };
            let mut figures = Figures::default();
            figures.latency = vec![(0.5, 10.0), (0.99, 20.0), (1.0, 30.0)];
            table.add(1, Subject::Nats, trial, figures);
        }
        let rows = table.rows(Kind::Calls);
        let points = slower_calls(&rows[0]);
        assert_eq!(points.len(), 2);
        assert!((points[1].0 - 100.0).abs() < 1e-6, "{points:?}");
        let drawn = distributions(&rows, "calls in flight").into_string();
        assert_eq!(drawn.matches("<svg").count(), 2, "{drawn}");
    }
}
