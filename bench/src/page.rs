//! The page with the table and the plots.

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::plot::{Plot, Series};
use crate::subject::Subject;
use crate::table::{Row, Spread, Table};

/// A figure of a row that is plotted, if it was measured.
type Value = fn(&Row) -> Option<f64>;

/// The plotted figures: title, label of the axis, value.
const PLOTTED: [(&str, &str, Value); 5] = [
    ("throughput", "calls/s", |row| Some(row.calls_per_second.median)),
    ("processor time", "us of CPU a call, both sides", |row| Some(row.cpu_us_per_call.median)),
    ("latency, median", "us", |row| row.p50_us.map(|us| us.median)),
    ("latency, 99 % within", "us", |row| row.p99_us.map(|us| us.median)),
    ("memory of the server", "MiB at most", |row| Some(row.server_mib.median)),
];

/// Returns the page.
///
/// The page is one file, without scripts and without resources of other files.
pub(crate) fn page(table: &Table, rounds: u32) -> String {
    let rows: Vec<_> = table.rows().collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "polywire: figures" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "polywire beside the bare engines" }
                p {
                    "Each subject echoes a body between two processes on loopback. Medians of "
                    (rounds) " rounds, in each of which all subjects were measured in turn. Only "
                    "ratios within one run are comparable."
                }
                (plots(&rows))
                (figures(&rows, table.compared_with()))
            }
        }
    };
    page.into_string()
}

/// Draws each figure over the calls in flight for each size, and over the sizes where there are
/// several.
fn plots(rows: &[Row]) -> Markup {
    let bodies: BTreeSet<_> = rows.iter().map(|row| row.load.body).collect();
    let calls: BTreeSet<_> = rows.iter().map(|row| row.load.in_flight).collect();
    html! {
        @for body in &bodies {
            @let rows: Vec<_> = rows.iter().filter(|row| row.load.body == *body).collect();
            h2 { (body) " bytes" }
            @for (name, y, value) in PLOTTED {
                (Plot {
                    title: format!("{name}, {body} bytes"),
                    x: "calls in flight",
                    y,
                    series: series(&rows, value, |row| row.load.in_flight as f64),
                }.draw())
            }
        }
        @if bodies.len() > 1 {
            @for in_flight in &calls {
                @let rows: Vec<_> =
                    rows.iter().filter(|row| row.load.in_flight == *in_flight).collect();
                h2 { (in_flight) " in flight" }
                @for (name, y, value) in PLOTTED {
                    (Plot {
                        title: format!("{name}, {in_flight} in flight"),
                        x: "bytes of the body",
                        y,
                        series: series(&rows, value, |row| row.load.body as f64),
                    }.draw())
                }
            }
        }
    }
}

/// Returns a line for each subject, in the order of the horizontal axis.
///
/// A subject without a figure has no line.
fn series(rows: &[&Row], value: Value, x: fn(&Row) -> f64) -> Vec<Series> {
    let points = |subject| {
        let own = rows.iter().filter(move |row| row.subject == subject);
        own.filter_map(|row| Some((x(row), value(row)?))).collect::<Vec<_>>()
    };
    let all = Subject::OWN.into_iter().chain(Subject::PEERS);
    let lines = all.map(|subject| Series { name: subject.name(), points: points(subject) });
    lines.filter(|series| !series.points.is_empty()).collect()
}

/// Returns the table of all medians, with the least and the largest ratio to `compared_with`.
fn figures(rows: &[Row], compared_with: &str) -> Markup {
    let number = |spread: Option<Spread>, digits: usize| {
        spread.map_or("-".to_owned(), |spread| format!("{:.digits$}", spread.median))
    };
    html! {
        h2 { "Medians" }
        table {
            tr {
                th { "bytes" } th { "in flight" } th { "subject" } th { "calls/s" }
                th { "of " (compared_with) } th { "least" } th { "most" } th { "us of CPU" }
                th { "p50 us" } th { "p99 us" } th { "p99.9 us" } th { "MiB" }
            }
            @for row in rows {
                tr {
                    td { (row.load.body) }
                    td { (row.load.in_flight) }
                    td { (row.subject.name()) }
                    td { (number(Some(row.calls_per_second), 0)) }
                    td { (number(row.of_bare, 2)) }
                    td { (row.of_bare.map_or("-".to_owned(), |of| format!("{:.2}", of.min))) }
                    td { (row.of_bare.map_or("-".to_owned(), |of| format!("{:.2}", of.max))) }
                    td { (number(Some(row.cpu_us_per_call), 1)) }
                    td { (number(row.p50_us, 0)) }
                    td { (number(row.p99_us, 0)) }
                    td { (number(row.p999_us, 0)) }
                    td { (number(Some(row.server_mib), 0)) }
                }
            }
        }
    }
}

const STYLE: &str = "
    body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em; }
    svg { font-size: 12px; margin: 0 1em 1em 0; max-width: 100%; }
    svg .title { font-size: 14px; font-weight: bold; }
    svg .grid { stroke: #ddd; }
    table { border-collapse: collapse; }
    td, th { border-bottom: 1px solid #ddd; padding: .2em .6em; text-align: right; }
    td:nth-child(3), th:nth-child(3) { text-align: left; }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_name_the_subject_of_comparison() {
        for (against, name) in [(None, "the bare engine"), (Some(Subject::Tarpc), "tarpc")] {
            let page = page(&Table::new(against), 1);
            assert!(page.contains(&format!("<th>of {name}</th>")), "{page}");
        }
    }
}
