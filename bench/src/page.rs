//! The page with the plots and the tables.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::columns::{heading, median, metrics, number_heading, ratio, title};
use crate::goals::{Bound, goals};
use crate::page_plots::plots;
use crate::table::Table;
use crate::trial::Kind;

/// Returns the page.
///
/// The page is one file, without scripts and without resources of other files. `rounds` is only
/// named in the text.
pub(crate) fn page(table: &Table, rounds: u32) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "polywire: figures" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "polywire beside the bare engines and other libraries" }
                p {
                    "Two processes on loopback, on a machine with " (processors) " processors. "
                    "Medians of " (rounds) " rounds at most, in each of which all subjects were "
                    "measured in turn. Only ratios within one run are comparable. Plots show "
                    "medians; the tables have the spread of the ratios over the rounds."
                }
                (goals_table(table))
                (plots(table))
                @for kind in Kind::ALL {
                    (figures(table, kind))
                }
                (failures(table))
            }
        }
    };
    page.into_string()
}

/// Returns the goals that have a figure. Without any, returns nothing.
fn goals_table(table: &Table) -> Markup {
    let measured: Vec<_> = goals()
        .into_iter()
        .filter_map(|goal| goal.value(table).map(|value| (goal, value)))
        .collect();
    html! {
        @if !measured.is_empty() {
            h2 { "Goals" }
            table {
                tr { th { "goal" } th { "bound" } th { "measured" } th { "reached" } }
                @for (goal, value) in measured {
                    @let is_reached = goal.is_reached(value.median);
                    tr class=(if is_reached { "yes" } else { "no" }) {
                        td { (goal.text()) }
                        td {
                            @match goal.bound {
                                Bound::AtLeast(bound) => { "≥ " (bound) }
                                Bound::AtMost(bound) => { "≤ " (bound) }
                            }
                        }
                        td { (ratio(Some(value))) }
                        td { (if is_reached { "yes" } else { "no" }) }
                    }
                }
            }
        }
    }
}

/// Returns the table of a kind: all medians, and the ratios with their spread.
fn figures(table: &Table, kind: Kind) -> Markup {
    let rows = table.rows(kind);
    let metrics = metrics(kind);
    html! {
        @if !rows.is_empty() {
            h2 { (title(kind)) }
            table class="figures" {
                tr {
                    th { "bytes" } th { (number_heading(kind)) } th { "subject" }
                    @for metric in metrics { th { (heading(*metric)) } }
                    th { "of " (table.compared_with()) } th { "of its best set-up" }
                }
                @for row in &rows {
                    tr {
                        td { (row.trial.body) } td { (row.trial.number) }
                        td { (row.subject.name()) }
                        @for metric in metrics { td { (median(row, *metric)) } }
                        td { (ratio(row.of_bare)) } td { (ratio(row.of_best)) }
                    }
                }
            }
        }
    }
}

/// Returns the failures of all rounds. Without any, returns nothing.
fn failures(table: &Table) -> Markup {
    html! {
        @if !table.failures.is_empty() {
            h2 { "Failed measurements" }
            ul {
                @for (subject, trial, error) in &table.failures {
                    li {
                        (subject.name()) ": " (trial.kind.name()) " " (trial.number) ", "
                        (trial.body) " bytes: " (error)
                    }
                }
            }
        }
    }
}

/// The style sheet, which is part of the page.
const STYLE: &str = "
    body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em; }
    svg { font-size: 12px; margin: 0 1em 1em 0; max-width: 100%; }
    svg .title { font-size: 14px; font-weight: bold; }
    svg .grid { stroke: #ddd; }
    table { border-collapse: collapse; margin-bottom: 2em; }
    td, th { border-bottom: 1px solid #ddd; padding: .2em .6em; text-align: left; }
    .figures td, .figures th { text-align: right; }
    .figures td:nth-child(3), .figures th:nth-child(3) { text-align: left; }
    .yes td:last-child { color: #007a50; }
    .no td:last-child { color: #b00020; }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Figures, Metric};
    use crate::subject::Subject;
    use crate::trial::Trial;

    #[test]
    fn page_has_goals_plots_tables_and_failures() {
        let mut table = Table::new(None);
        for number in [1, 64] {
            let trial = Trial { kind: Kind::Calls, body: 64, number };
            for (subject, rate) in [(Subject::ZmqTyped, 10.0), (Subject::OmqCalls, 20.0)] {
                let mut figures = Figures::default();
                figures.set(Metric::Rate, rate);
                table.add(1, subject, trial, figures);
            }
            table.failures.push((Subject::Nats, trial, "no server".to_owned()));
        }
        let page = page(&table, 1);
        for part in ["<h2>Goals</h2>", "<svg", "of the bare engine", "0.50 (0.50 to 0.50)"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(page.contains("no server"), "{page}");
    }

    #[test]
    fn ratios_name_the_subject_of_comparison() {
        let mut table = Table::new(Some(Subject::Tarpc));
        let trial = Trial { kind: Kind::Calls, body: 64, number: 1 };
        table.add(1, Subject::Tarpc, trial, Figures::default());
        assert!(page(&table, 1).contains("<th>of tarpc</th>"));
    }
}
