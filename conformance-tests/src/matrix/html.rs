//! The matrix as an HTML page of its own: no scripts, no external resources. The filter of cases
//! is a choice whose style hides the rows of others.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::row::{Row, rows};
use crate::cases;
use crate::report::{CaseOutcome, Entry, Report};

/// Formats the page: the totals, the filter, the matrix, grouped, and then all failures and notes.
pub(super) fn page(reports: &[Report]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Conformance" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                h1 { "Conformance" }
                p { (cases::edition()) }
                (totals(reports))
                (filter())
                p {
                    "The requirements of every backend, and the backends that meet them. "
                    "● belongs to the minimum set. "
                    "Words in italics name the capability or the hook that is missing, so that the case was not run."
                }
                (table(reports))
                (remarks(reports))
            }
        }
    };
    page.into_string()
}

/// The totals of each backend.
fn totals(reports: &[Report]) -> Markup {
    html! {
        table.totals {
            tr {
                @for head in ["backend", "", "passed", "failed", "not run", "minimum set", "time"] {
                    th { (head) }
                }
            }
            @for report in reports {
                @let count = |is: fn(&CaseOutcome) -> bool| {
                    report.entries.iter().filter(|entry| is(&entry.outcome)).count()
                };
                @let minimum = report.entries.iter().filter(|entry| entry.minimum);
                @let kept = minimum.clone().filter(|entry| entry.outcome.is_passed()).count();
                @let seconds = report.entries.iter().map(|entry| entry.took_ms).sum::<u64>() / 1_000;
                tr {
                    th { (report.backend) }
                    td { (verdict(report)) }
                    td { (count(CaseOutcome::is_passed)) }
                    td { (count(|outcome| matches!(outcome, CaseOutcome::Failed(_)))) }
                    td { (count(|outcome| matches!(outcome, CaseOutcome::NotRun(_)))) }
                    td { (kept) " of " (minimum.count()) }
                    td { (seconds) " s" }
                }
            }
        }
    }
}

/// The choice of the cases that the table shows.
fn filter() -> Markup {
    let choices = [
        ("all", "all cases"),
        ("failed", "failed somewhere"),
        ("missing", "not run somewhere"),
        ("minimum", "minimum set"),
    ];
    html! {
        fieldset {
            legend { "Show" }
            @for (id, text) in choices {
                input type="radio" name="show" id=(format!("show-{id}")) checked[id == "all"];
                label for=(format!("show-{id}")) { (text) }
            }
        }
    }
}

/// The table, with a row for each group and for each case.
///
/// A row for a group stands before the first case of the group.
fn table(reports: &[Report]) -> Markup {
    let mut group = String::new();
    html! {
        table {
            tr {
                th { "case" }
                @for report in reports { (column_head(report)) }
            }
            @for row in rows(reports) {
                @let of = row.first.case.split_once('.').unwrap_or_default().0;
                @if group != of {
                    tr.group { th.group colspan=(row.cells.len() + 1) { (of) } }
                    ({ group = of.to_owned(); "" })
                }
                (case(&row))
            }
        }
    }
}

/// The head of a column: the backend, and whether it is conformant.
fn column_head(report: &Report) -> Markup {
    html! { th { (report.backend) br; (verdict(report)) } }
}

/// Verdict on a backend, in words.
fn verdict(report: &Report) -> Markup {
    let (class, word) = if report.is_conformant() {
        ("passed", "conformant")
    } else {
        ("failed", "not conformant")
    };
    html! { small class=(class) { (word) } }
}

/// The row of a case.
fn case(Row { first, cells }: &Row<'_>) -> Markup {
    let any = |is: fn(&CaseOutcome) -> bool| cells.iter().flatten().any(|cell| is(&cell.outcome));
    let has_failed = any(|outcome| matches!(outcome, CaseOutcome::Failed(_)));
    let has_missing = any(|outcome| matches!(outcome, CaseOutcome::NotRun(_)));
    html! {
        tr.case.is-failed[has_failed].is-missing[has_missing].is-minimum[first.minimum] {
            td {
                code { (first.case) }
                @if first.minimum { " " b title="of the minimum set" { "●" } }
                br;
                small { (first.about) }
            }
            @for cell in cells {
                @match cell {
                    Some(entry) => (outcome(entry)),
                    None => td {},
                }
            }
        }
    }
}

/// The cell of an entry.
///
/// The sentence of a failure is below the table, where it has room.
fn outcome(entry: &Entry) -> Markup {
    html! {
        @match &entry.outcome {
            CaseOutcome::Passed => td.passed { "✓ " small { (entry.took_ms) " ms" } },
            CaseOutcome::Failed(_) => td.failed { "failed" },
            CaseOutcome::NotRun(missing) => td.missing { (missing) },
        }
    }
}

/// The failures and the notes, backend by backend.
///
/// Texts are escaped by `maud`, since sentences hold what a peer sent.
fn remarks(reports: &[Report]) -> Markup {
    let entries = reports
        .iter()
        .flat_map(|report| report.entries.iter().map(move |entry| (&report.backend, entry)));
    html! {
        ul {
            @for (backend, entry) in entries {
                @if let CaseOutcome::Failed(sentence) = &entry.outcome {
                    li { (backend) " " code { (entry.case) } ": " b.failed { (sentence) } }
                }
                @for note in &entry.notes {
                    li { (backend) " " code { (entry.case) } ": " (note) }
                }
            }
        }
    }
}
