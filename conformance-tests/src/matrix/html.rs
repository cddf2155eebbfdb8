//! The matrix as an HTML page of its own: no scripts, no external resources.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::row::{Row, rows};
use crate::report::{CaseOutcome, Entry, Report};

/// Formats the page: the matrix, grouped, and then all failures and notes.
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
                    tr { th.group colspan=(row.cells.len() + 1) { (of) } }
                    ({ group = of.to_owned(); "" })
                }
                (case(&row))
            }
        }
    }
}

/// The head of a column: the backend, and whether it is conformant.
fn column_head(report: &Report) -> Markup {
    let (class, word) = if report.is_conformant() {
        ("passed", "conformant")
    } else {
        ("failed", "not conformant")
    };
    html! { th { (report.backend) br; small class=(class) { (word) } } }
}

/// The row of a case.
fn case(Row { first, cells }: &Row<'_>) -> Markup {
    html! {
        tr {
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
