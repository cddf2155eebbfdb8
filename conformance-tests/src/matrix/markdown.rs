//! The matrix as a table in Markdown.

use super::row::{Row, rows};
use crate::cases;
use crate::report::{CaseOutcome, Entry, Report};

/// The text below the table.
const LEGEND: &str = "\
● belongs to the minimum set. Words in a cell name the capability or the hook that is missing, so that the case was
not run.";

/// Formats the table and its legend.
///
/// The last row says which backends are conformant.
pub(super) fn table(reports: &[Report]) -> String {
    let backends = reports.iter().map(|report| report.backend.clone());
    let rule = reports.iter().map(|_| "---".to_owned());
    let verdicts = reports.iter().map(|report| {
        let word = if report.is_conformant() { "yes" } else { "**no**" };
        word.to_owned()
    });
    let mut table = line("case", backends) + &line("---", rule);
    table.extend(rows(reports).map(|row| case(&row)));
    table += &line("**conformant**", verdicts);
    format!("{table}\n{LEGEND} This is {}.\n", cases::edition())
}

/// The line of a case.
fn case(Row { first, cells }: &Row<'_>) -> String {
    let mark = if first.minimum { " ●" } else { "" };
    line(
        &format!("`{}`{mark}", first.case),
        cells.iter().map(|cell| cell.map_or_else(String::new, word)),
    )
}

/// The cell of an entry.
///
/// Never a duration or a note, which differ from run to run.
fn word(entry: &Entry) -> String {
    match &entry.outcome {
        CaseOutcome::Passed => "✓".to_owned(),
        // The sentence differs from run to run.
        CaseOutcome::Failed(_) => "**failed**".to_owned(),
        CaseOutcome::NotRun(missing) => missing.clone(),
    }
}

/// A line of the table.
fn line(head: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = std::iter::once(head.to_owned()).chain(cells).collect();
    format!("| {} |\n", cells.join(" | "))
}
